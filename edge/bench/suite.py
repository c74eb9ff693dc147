"""The parts of ``videodisco bench``, each a section of one record of plain values."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.bench import network, runs
from edge.bench.bound import Bound, measure
from edge.bench.peers import peers
from edge.bench.programs import Measured, Model, in_turns, output_of
from edge.bench.record import machine
from models.catalogue import AUTO, FLOAT
from models.providers import AUTO as AUTO_DEVICE
from models.providers import OPENVINO, default_device
from models.session import available_providers
from stream.sources.probing import probe_file

CAMERA_TURNS = 1
"""A camera's memory hardly differs from one time to the next, and takes as long as it takes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to measure. ``reference`` is the model that the plain loop runs and that the other's boxes are held against;
    empty is the bundled float one for ``auto``, and else the model itself. ``peers`` is a Python with ultralytics."""

    clip: Path
    model: str = AUTO
    reference: str = ""
    device: str = AUTO_DEVICE
    turns: int = 3
    peers: Path | None = None
    live_s: float = 15.0


class Suite:
    """Measures part by part.

    Raises:
        SourceError, ModelError: the clip or a model cannot be used.
    """

    def __init__(self, asked: Asked) -> None:
        available = available_providers()
        self._asked = asked
        self._clip = asked.clip.absolute()
        self._model = Model.of(asked.model)
        self._reference = Model.of(asked.reference or (FLOAT if asked.model == AUTO else asked.model))
        self._device = default_device(available) if asked.device == AUTO_DEVICE else asked.device
        self._devices = (self._device, *(("openvino",) if OPENVINO in available and self._device == "cpu" else ()))
        info = probe_file(str(self._clip)).info
        self.record: dict[str, Any] = {
            "machine": machine(),
            "clip": {
                "name": self._clip.name,
                "width": info.width,
                "height": info.height,
                "codec": info.codec,
                "frames": info.frame_count,
            },
            "model": self._model.name,
            "reference": self._reference.name,
            "device": self._device,
        }

    @property
    def parts(self) -> Mapping[str, Callable[[], Any]]:
        """What can be measured, by its name in the record, in the order that is best to read."""
        judged = {"agreement": self._agreement} if self._model != self._reference else {}
        raced = {"peers": self._peers} if self._asked.peers else {}
        return {
            "network": lambda: {name: self._splits(model) for name, model in self._models.items()},
            "stages": lambda: {name: self._stages(model) for name, model in self._models.items()},
            "runs": self._runs,
            "start": self._start,
            "memory": self._memory,
            **judged,
            "live": self._live,
            **raced,
        }

    def measure(self, part: str) -> None:
        """Measure a part, and put it into the record."""
        self.record[part] = self.parts[part]()

    @property
    def _models(self) -> dict[str, Model]:
        return {model.name: model for model in (self._reference, self._model)}

    def _splits(self, model: Model) -> dict[str, float]:
        return network.splits(self._clip, model.word, self._device)

    def _stages(self, model: Model) -> dict[str, Any]:
        return plain_bound(measure(self._clip, model.word, self._device))

    def _runs(self) -> list[dict[str, Any]]:
        programs = runs.whole_runs(self._clip, self._model, self._reference, self._device)
        return _figures(in_turns(programs, self._asked.turns))

    def _start(self) -> list[dict[str, Any]]:
        return _figures(in_turns(runs.start(self._clip, self._model, self._device), self._asked.turns))

    def _memory(self) -> list[dict[str, Any]]:
        with tempfile.TemporaryDirectory() as folder:
            large = Path(folder) / "camera.mp4"
            runs.write_large(self._clip, large)
            return _figures(in_turns(runs.large_camera(large, self._model, self._device), CAMERA_TURNS))

    def _agreement(self) -> dict[str, Any]:
        seen = network.compare(self._clip, self._reference.word, self._model.word, self._device)
        return {"reference": self._reference.name, "other": self._model.name} | seen

    def _live(self) -> Any:
        program = runs.live(self._clip, self._model, self._device, self._asked.live_s)
        return output_of(program, runs.LIVE_RECORD)["live"]

    def _peers(self) -> list[dict[str, Any]]:
        if self._asked.peers is None:
            return []
        programs = peers(self._asked.peers.absolute(), self._clip, list(self._models.values()), self._devices)
        return _figures(in_turns(programs, self._asked.turns))


def plain_bound(bound: Bound) -> dict[str, Any]:
    """A bound as plain values, with what follows from it."""
    follows = {
        name + ("" if tracking else ", untracked"): bound.fps(recording=recording, tracking=tracking)
        for name, recording in (("detections only", False), ("recording", True))
        for tracking in (True, False)
    }
    return {"cores": bound.cores, "stages_s": dict(bound.stages), "bound_fps": follows}


def _figures(measured: list[Measured]) -> list[dict[str, Any]]:
    return [each.figures() for each in measured]
