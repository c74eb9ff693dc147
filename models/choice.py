"""What ``--device auto`` means for a model on this machine: remembered from a measurement, and never guessed.

A choice holds for one model, one way of using the cores, this processor and these versions of the libraries; when one
of them changes there is none, and the default is used until somebody measures again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from models.catalogue import cpu_flags
from models.providers import default_device
from stream.errors import OutputError
from stream.home import home

LEAST_F1 = 0.97
"""How far the boxes of another runtime must agree with onnxruntime's on the CPU, at IoU 0.5 within a class. The bundled
float detector in bfloat16 had 0.99 to 1.0 on three clips; its INT8 build, which OpenVINO rounds otherwise, 0.88."""

LEAST_GAIN = 1.1
"""So many times as fast something must be to be preferred: less is within the noise of a measurement."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One device on the model: pictures a second, and how its boxes agree with those of the CPU.

    ``pictures_per_cpu_s`` are those of a second of processor time, whoever else uses the machine; 0 where that was not
    looked at. ``f1`` is None where too few things were found to tell; ``problem`` says why it cannot run the model at
    all.
    """

    device: str
    provider: str = ""
    pictures_per_s: float = 0.0
    f1: float | None = None
    boxes: int = 0
    problem: str = ""
    pictures_per_cpu_s: float = 0.0

    @property
    def agrees(self) -> bool:
        return not self.problem and (self.device == "cpu" or (self.f1 is not None and self.f1 >= LEAST_F1))

    def __str__(self) -> str:
        if self.problem:
            return f"{self.device}: {self.problem}"
        if self.device == "cpu":
            return f"{self.device} {self.pictures_per_s:.1f} a second"
        return f"{self.device} {self.pictures_per_s:.1f} a second, {self.judgement}"

    @property
    def judgement(self) -> str:
        """How it agrees with the CPU, and whether that is enough; empty for the CPU itself."""
        if self.device == "cpu" or self.problem:
            return ""
        if self.f1 is None:
            return "too few boxes to judge by: not used"
        judged = f"F1 {self.f1:.3f} on {self.boxes} boxes"
        return judged if self.agrees else f"{judged}: not used"


@dataclass(frozen=True, slots=True)
class Choice:
    """The device for a model, what it was chosen from, and how that was measured."""

    model: str
    sha256: str
    device: str
    workers: int
    threads: int
    width: int
    height: int
    confidence: float
    measured_at: str
    tried: tuple[Tried, ...]

    @property
    def pictures_per_s(self) -> float:
        """What the chosen device makes."""
        return next((each.pictures_per_s for each in self.tried if each.device == self.device), 0.0)

    @property
    def slots(self) -> str:
        return f"{self.workers} x {self.threads} thread{'s' if self.threads > 1 else ''}"

    def __str__(self) -> str:
        words = "; ".join(str(each) for each in self.tried)
        return f"{self.device} ({words}; at {self.width}x{self.height}, {self.slots})"


def best(tried: Sequence[Tried]) -> str:
    """The device to use: another than the default only if it agrees and is clearly faster."""
    fit = {each.device: each for each in tried if each.agrees}
    default = fit.get(default_device([each.provider for each in tried]), fit["cpu"])
    winner = max(fit.values(), key=lambda each: each.pictures_per_s)
    return (winner if winner.pictures_per_s >= LEAST_GAIN * default.pictures_per_s else default).device


def judged_as(choice: Choice, former: Choice | None) -> Choice:
    """New speeds with the agreement that was found formerly, for a measurement without pictures to judge by."""
    known = {each.provider: each for each in former.tried if not each.problem} if former else {}
    tried = tuple(
        replace(each, f1=known[each.provider].f1, boxes=known[each.provider].boxes) if each.provider in known else each
        for each in choice.tried
    )
    confidence = former.confidence if former else choice.confidence
    return replace(choice, tried=tried, device=best(tried), confidence=confidence)


def keep(choice: Choice) -> None:
    """Remember a choice. Raises OutputError where the home cannot be written."""
    path = _path(choice.sha256, choice.workers, choice.threads)
    fresh = path.with_suffix(".part")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        fresh.write_text(json.dumps({**asdict(choice), "host": facts()}, indent=2), encoding="utf-8")
        fresh.replace(path)
    except OSError as exc:
        raise OutputError(f"what was measured cannot be kept in {path}: {exc.strerror or exc}") from exc


def kept(sha256: str, workers: int, threads: int) -> Choice | None:
    """The choice for a model with these cores, if it was measured on this machine as it is now."""
    try:
        return _read(_path(sha256, workers, threads))
    except OutputError:
        return None


def all_kept() -> list[Choice]:
    """All choices that hold on this machine as it is now, the newest first."""
    return sorted(_found("*"), key=lambda choice: choice.measured_at, reverse=True)


def kept_of(sha256: str) -> list[Choice]:
    """Those of one model, the fastest first."""
    return sorted(_found(sha256), key=lambda choice: choice.pictures_per_s, reverse=True)


def _found(sha256: str) -> Iterator[Choice]:
    with contextlib.suppress(OutputError):
        paths = list((home() / "providers").glob(f"{sha256}-*.json"))
        # Only where there are any is it worth asking the libraries who they are.
        digest = _digest() if paths else ""
        yield from filter(None, (_read(path) for path in paths if f"-{digest}-" in path.name))


def facts() -> dict[str, str]:
    """What a measurement depends on besides the model and the cores."""
    # Imported here, for cards are shown without it where nothing was measured.
    import onnxruntime

    from models.session import available_providers

    try:
        openvino = metadata.version("openvino")
    except metadata.PackageNotFoundError:
        openvino = ""
    flags = hashlib.sha256(" ".join(sorted(cpu_flags())).encode()).hexdigest()[:16]
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor_flags": flags,
        "providers": ", ".join(available_providers()),
        "onnxruntime": onnxruntime.__version__,
        "openvino": openvino,
    }


def _digest() -> str:
    return hashlib.sha256(json.dumps(facts(), sort_keys=True).encode()).hexdigest()[:16]


def _path(sha256: str, workers: int, threads: int) -> Path:
    return home() / "providers" / f"{sha256}-{_digest()}-{workers}x{threads}.json"


def _read(path: Path) -> Choice | None:
    """A file somebody damaged is no choice."""
    try:
        told: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        tried = tuple(Tried(**each) for each in told["tried"])
        names = Choice.__dataclass_fields__.keys() - {"tried"}
        return Choice(tried=tried, **{name: told[name] for name in names})
    except (OSError, ValueError, TypeError, LookupError):
        return None
