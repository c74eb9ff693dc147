"""The models, and the configuration, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import Field

from edge.service.changes import ChangedAnswer, Changes
from edge.service.hub import Hub
from edge.service.models import known_models
from edge.service.wire import ModelAnswer, model_answer
from models.catalogue import look_up
from stream.errors import ModelError, VideoDiscoError
from stream.http.endpoints import Call, Endpoint, JsonBody, Result, Role, Wire


class ModelCardAnswer(Wire):
    """A model that can be asked for."""

    name: str
    where: str = Field(description="bundled or shelf.")
    sha256: str
    card: dict[str, Any] | None = Field(description="What is known of it.")


class ModelsAnswer(Wire):
    """All models by their names."""

    in_use: ModelAnswer = Field(description="What looks where a camera says nothing else.")
    models: tuple[ModelCardAnswer, ...]


class CurrentModelAnswer(Wire):
    """What looks where a camera says nothing else."""

    name: str = Field(description="As the configuration calls it.")
    model: ModelAnswer
    provider: str = Field(description="What runs it; empty before it looked.")
    slots: str = Field(description="How the cores are shared: so many inferences at a time, so many threads each.")
    slots_reason: str = Field(description="Why so.")
    classes: tuple[str, ...]


class ModelBody(Wire):
    """Another model for all cameras that have none of their own, and for pictures."""

    model: str = Field(min_length=1, max_length=100)


class ConfigAnswer(Wire):
    """The configuration, with *** in the place of each secret."""

    config: dict[str, Any]
    in_file: bool = Field(description="Whether there is a file that changes are kept in.")


class ConfigBody(Wire):
    """A whole configuration; *** keeps the secret that stands there."""

    config: dict[str, Any]


class ValidAnswer(Wire):
    """Whether a configuration could be written."""

    valid: bool
    problem: str | None = None


class Control:
    """The endpoints about what the whole service runs by."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._changes = Changes(hub)

    def endpoints(self) -> list[Endpoint]:
        changed = {200: ChangedAnswer}
        config = JsonBody(ConfigBody)
        return [
            Endpoint("GET", "/models", self.models, "Models by name", answers={200: ModelsAnswer}, tag="models"),
            Endpoint("GET", "/model", self.model, "What looks", answers={200: CurrentModelAnswer}, tag="models"),
            Endpoint(
                "PUT",
                "/model",
                self.swap,
                "Look with another model",
                role=Role.OPERATE,
                body=JsonBody(ModelBody),
                answers=changed,
                errors=(404, 422),
                change="model",
                tag="models",
                description="It is loaded, checked and tried on what the cameras see; then it takes over between two "
                "frames. If it fails or lags when it is tried, the answer is 422 and everything stays as it was. If it "
                "does so at work after the answer, in the first 30 detections (a minute at most), cameras, pictures, "
                "configuration and its file go back to the former model.",
            ),
            Endpoint(
                "GET",
                "/config",
                self.config,
                "The configuration",
                role=Role.ADMIN,
                answers={200: ConfigAnswer},
                tag="configuration",
            ),
            Endpoint(
                "PUT",
                "/config",
                self.put_config,
                "Change it",
                role=Role.ADMIN,
                body=config,
                answers=changed,
                errors=(422,),
                change="config",
                tag="configuration",
            ),
            Endpoint(
                "POST",
                "/config/validate",
                self.validate,
                "Try it",
                role=Role.ADMIN,
                body=config,
                answers={200: ValidAnswer},
                tag="configuration",
            ),
        ]

    async def models(self, _: Call) -> Result:
        cards = await asyncio.get_running_loop().run_in_executor(None, _cards)
        return ModelsAnswer(in_use=(await self._current()).model, models=tuple(cards))

    async def model(self, _: Call) -> Result:
        return await self._current()

    async def swap(self, call: Call) -> Result:
        call.note(model=call.body.model)
        return await self._changes.model(call.body.model)

    async def config(self, _: Call) -> Result:
        document = self._hub.document
        shown = await asyncio.get_running_loop().run_in_executor(None, document.shown)
        return ConfigAnswer(config=shown, in_file=document.path is not None)

    async def put_config(self, call: Call) -> Result:
        return await self._changes.configuration(call.body.config)

    async def validate(self, call: Call) -> Result:
        try:
            await self._changes.tried(call.body.config)
        except VideoDiscoError as exc:
            return ValidAnswer(valid=False, problem=str(exc))
        return ValidAnswer(valid=True)

    async def _current(self) -> CurrentModelAnswer:
        name = self._hub.settings.detector.model
        assembly = self._hub.running.assembly
        loaded = assembly.models[name]
        return CurrentModelAnswer(
            name=name,
            model=model_answer(loaded.identity),
            provider=loaded.provider,
            slots=str(assembly.slots),
            slots_reason=assembly.slots.reason,
            classes=loaded.names,
        )


def _cards() -> list[ModelCardAnswer]:
    """What can be shown of each; a model of the shelf that is damaged is left out."""
    cards = []
    for name in known_models():
        try:
            found = look_up(name)
        except ModelError:
            continue
        card = None if found.card is None else dict(found.card)
        cards.append(ModelCardAnswer(name=name, where=found.where, sha256=found.sha256, card=card))
    return cards
