"""Changes that somebody asks for over HTTP: checked, taken over by what runs, and then kept in the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from edge.config import RunSettings
from edge.service.configuration import Content
from edge.service.hub import Hub
from edge.service.models import Wish, known_models
from edge.service.reserved import refuse_reserved, refuse_variables
from stream.errors import ModelError, SinkError, UsageError
from stream.http.endpoints import Wire
from stream.http.errors import HttpError, sentence_of
from stream.sources.address import parse_address
from stream.sources.reach import refusal
from stream.sources.settings import ReachSettings


class ChangedAnswer(Wire):
    """What a change did."""

    changes: tuple[str, ...] = Field(description="In sentences.")
    saved: bool = Field(description="Whether it is in the configuration file and survives a restart.")


class Changes:
    """All raise UsageError, SourceError, ModelError or HttpError, and then nothing is changed."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def camera(self, name: str, entry: Mapping[str, Any] | None) -> ChangedAnswer:
        """Make a camera stand like this in the configuration, or be gone."""
        hub, document = self._hub, self._hub.document
        async with hub.changing:
            known = name in hub.running.listed
            kept = document.has_camera(name) or not known
            content = document.with_camera(name, entry)
            cameras = dict(hub.settings.cameras)
            if entry is None:
                cameras.pop(name, None)
            else:
                cameras[name] = (await _in_thread(document.settings_of, content)).cameras[name]
            told = await hub.take_over(hub.settings.model_copy(update={"cameras": cameras}))
            return await self._saved(told, content if kept else None)

    async def configuration(self, shown: Content) -> ChangedAnswer:
        """Make this the whole configuration; ``***`` in it keeps the secrets there were."""
        hub = self._hub
        async with hub.changing:
            content, settings = await self.tried(shown)
            return await self._saved(await hub.take_over(settings), content)

    async def tried(self, shown: Content) -> tuple[Content, RunSettings]:
        """What a configuration would be, and the settings that it means, without taking it over."""
        document = self._hub.document
        refuse_variables(shown, document.content)
        content = document.with_secrets(shown)
        refuse_reserved(content, document.content)
        await self._guard_new_sources(content)
        return content, await _in_thread(document.settings_of, content)

    async def model(self, name: str) -> ChangedAnswer:
        """Look with another model, once it was tried."""
        hub = self._hub
        if name not in known_models():
            raise HttpError(404, f"no model of this name is known here; known are {', '.join(known_models())}")
        async with hub.changing:
            content = hub.document.with_model(name)
            detector = hub.settings.detector.model_copy(update={"model": name})
            await self._try(name)
            told = await hub.take_over(hub.settings.model_copy(update={"detector": detector}))
            return await self._saved([*told, f"pictures: looked at with {name}"], content)

    async def check_source(self, source: str) -> None:
        """Refuse what a stranger must not make us connect to."""
        allowed = self._hub.settings.serve.camera_sources
        reach = ReachSettings(networks=allowed.networks, folders=allowed.folders, webcams=allowed.webcams)
        if trouble := await _in_thread(refusal, parse_address(source), reach):
            raise HttpError(
                422,
                f"this source is refused: {trouble}; serve.camera_sources in the configuration file may allow more",
                cause="source",
            )

    async def _guard_new_sources(self, content: Content) -> None:
        """A source that is another one than the operator wrote is guarded, whatever the new configuration says."""
        former = self._hub.document.content.get("cameras") or {}
        cameras = content.get("cameras") or {}
        if not isinstance(cameras, Mapping):
            return
        for name, entry in cameras.items():
            known = former.get(name) or {}
            if not isinstance(entry, dict) or not isinstance(entry.get("source"), str):
                continue
            entry.pop("guard", None)
            if entry["source"] != known.get("source"):
                await self.check_source(entry["source"])
                entry["guard"] = {}
            elif "guard" in known:
                entry["guard"] = known["guard"]

    async def _try(self, name: str) -> None:
        """Load it and let it look once."""
        models = self._hub.models
        if models is None:
            raise HttpError(503, "the models are still being loaded", retry_after_s=1, cause="loading")

        def look() -> None:
            detector = models.detector(Wish(model=name))
            if detector is None:
                raise ModelError(f"{name} cannot be loaded")
            models.view(detector, 16, 9)

        await _in_thread(look)

    async def _saved(self, told: list[str], content: Content | None) -> ChangedAnswer:
        """Keep what is in force now; a file that cannot be written is told and takes nothing back."""
        saved = False
        if content is not None:
            try:
                saved = await _in_thread(self._hub.document.save, content)
            except SinkError as exc:
                told = [*told, f"not saved: {sentence_of(UsageError(str(exc)))}"]
        return ChangedAnswer(changes=tuple(told), saved=saved)


async def _in_thread(function: Any, *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
