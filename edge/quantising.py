"""Quantising a model with pictures of one's own: calibrated, held against the float model, timed, and kept."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.clip_pictures import spread
from edge.config import DetectorSettings
from edge.loaded_model import LoadedModel
from edge.slots import plan_slots
from edge.truth import Truth, read_truth
from models.catalogue import AUTO, ModelFile, bundled_names, content_of, find
from models.choice import LEAST_GAIN
from models.families import Boxes
from models.matching import LEAST_BOXES, Agreement, above, agreement, agreement_above
from models.quantising import Attempt, Feed, Quantiser, check_installed, search
from models.session import Pixels, Session
from models.shelf import store
from models.shelf.adding import add
from models.shelf.derived import open_derived, operators_run
from models.shelf.manifest import SourceCard
from models.trust.policy import ANY_MODEL
from models.trying import boxes_of, throughput
from stream.errors import ModelError, SourceError, UsageError
from stream.frame import Frame
from stream.machine import usable_cores

PICTURES = 120
"""Of all clips together: every third calibrates, the others are held out to judge by."""

TURNS, TURN_S = 5, 0.4


@dataclass(frozen=True, slots=True)
class Asked:
    """What to quantise, with which clips, and what must come of it. ``truths`` belong to the clips in their order."""

    model: str
    clips: tuple[Path, ...]
    name: str = ""
    least_f1: float = 0.97
    confidence: float = 0.4
    truths: tuple[Path, ...] = ()
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Speed:
    """Pictures that ``workers`` inferences of one thread each make in a second of their own processor time, so that
    other work on the machine counts little: the best of turns between the two models."""

    exact: float
    quick: float
    workers: int

    @property
    def ratio(self) -> float:
        return self.quick / self.exact


@dataclass(frozen=True, slots=True)
class Compared:
    """A held-out picture with what both models find in it."""

    frame: Frame
    exact: Boxes
    quick: Boxes


@dataclass(frozen=True, slots=True)
class Marked:
    """Both models against what people marked in a clip."""

    clip: str
    exact: Agreement
    quick: Agreement


@dataclass(slots=True)
class Result:
    """All that a report tells. ``problem`` says why nothing was kept, empty if it was."""

    asked: Asked
    name: str
    model: ModelFile
    names: Sequence[str]
    calibrated_on: int
    confidence: float
    attempts: list[Attempt]
    chosen: Attempt | None = None
    speed: Speed | None = None
    compared: Sequence[Compared] = ()
    marked: Sequence[Marked] = ()
    problem: str = ""


class Quantising:
    """One model on its way into 8 bits. It takes minutes: ``say`` is told what it begins with, ``tried`` what came of
    each network.

    Raises:
        UsageError: a package is missing, or a file of marked boxes is none.
        SourceError, DecodeError: a clip cannot be read.
        ModelError: the model is refused, or cannot be quantised.
    """

    def __init__(
        self,
        asked: Asked,
        *,
        say: Callable[[str], None] = lambda _stage: None,
        tried: Callable[[Attempt], None] = lambda _attempt: None,
    ) -> None:
        check_installed()
        self._say, self._tried = say, tried
        self._asked = asked
        self._model = find(asked.model, ANY_MODEL)
        self._name = asked.name or f"{self._model.name}-int8"
        store.check_name(self._name, [AUTO, *bundled_names()])
        if store.has(self._name) and not asked.replace:
            raise ModelError(f"another model is called {self._name!r}: choose another --name, or --replace it")
        slots = plan_slots(usable_cores())
        self._workers = slots.workers
        self._loaded = LoadedModel(self._model, DetectorSettings(device="cpu"), slots)
        self._truths = _truths(asked, self._loaded.names)
        say(f"taking pictures from {', '.join(clip.name for clip in asked.clips)}")
        frames = list(self._frames())
        self._calibrating, self._held = frames[::3], [frame for place, frame in enumerate(frames) if place % 3]
        if not self._held:
            raise SourceError("the clips hold too few pictures to calibrate and to judge by")
        say(f"looking at {len(self._held)} of them with {self._model.name}")
        self._exact = [boxes_of(self._session(frame), _pixels(frame)) for frame in self._held]
        self._quick: dict[bytes, list[Boxes]] = {}

    def run(self) -> Result:
        """Find the fastest 8-bit network that agrees; whether one was found is in the result."""
        seen, confidence = agreement_above(list(zip(self._exact, self._exact, strict=True)), self._asked.confidence)
        result = Result(
            self._asked, self._name, self._model, self._loaded.names, len(self._calibrating), confidence, attempts=[]
        )
        if seen.boxes < LEAST_BOXES and self._asked.least_f1 > 0:
            result.problem = (
                f"{self._model.name} finds only {seen.boxes} boxes in these clips, too few to tell whether an 8-bit"
                " model agrees: calibrate with clips of what it is made to find"
            )
            return result
        self._say(f"making 8-bit networks with the other {len(self._calibrating)}, and looking with each")
        with Quantiser(content_of(self._model), self._feeds()) as quantiser:
            judged = search(
                quantiser,
                lambda content: self._judge(content, confidence),
                self._profile,
                least_f1=self._asked.least_f1,
            )
            for attempt in judged:
                result.attempts.append(attempt)
                self._tried(attempt)
        self._choose(result)
        return result

    def keep(self, result: Result) -> None:
        """Put the chosen model on the shelf. Raises ModelError or OutputError."""
        chosen, speed = result.chosen, result.speed
        if chosen is None or speed is None:
            raise ModelError(result.problem)
        self._say("trying it out in a process of its own")
        precision = (
            f"int8: {chosen.activations}, {chosen.float_convolutions} convolutions in float32; "
            f"F1 {chosen.agreement.f1:.3f} against float, {speed.ratio:.1f} x as fast"
        )
        told = self._model.card or {}
        source = SourceCard(location=f"quantised here from {self._model.name}", sha256=self._model.sha256)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            path.write_bytes(chosen.content)
            licence = str(told.get("licence", ""))
            add(path, self._name, source=source, licence=licence, precision=precision, replace=self._asked.replace)

    def _choose(self, result: Result) -> None:
        fit = [attempt for attempt in result.attempts if not attempt.problem]
        if not fit:
            best = max(result.attempts, key=lambda attempt: attempt.agreement.f1 * bool(attempt.integer_convolutions))
            result.problem = f"{self._model.name} is not quantised: {best.problem}"
            return
        self._say("measuring how fast they are")
        speeds = [self._speed(attempt) for attempt in fit]
        place = max(range(len(fit)), key=lambda each: speeds[each].ratio)
        result.chosen, result.speed = fit[place], speeds[place]
        quick = self._quick[fit[place].content]
        result.compared = [
            Compared(frame, above(exact, result.confidence), above(other, result.confidence))
            for frame, exact, other in zip(self._held, self._exact, quick, strict=True)
        ]
        result.marked = list(self._marked(result.compared))
        result.problem = self._last_doubts(result)
        if result.problem:
            result.chosen = None

    def _last_doubts(self, result: Result) -> str:
        if result.speed is not None and result.speed.ratio < LEAST_GAIN:
            return (
                f"{self._model.name} is not quantised: in 8 bits it runs {result.speed.ratio:.2f} times as fast on this"
                " processor, which is not worth it"
            )
        for each in result.marked:
            if each.quick.f1 < each.exact.f1 - (1 - self._asked.least_f1):
                return (
                    f"{self._model.name} is not quantised: against what is marked in {each.clip} it falls from F1"
                    f" {each.exact.f1:.3f} to {each.quick.f1:.3f}"
                )
        return ""

    def _judge(self, content: bytes, confidence: float) -> Agreement:
        sessions: dict[tuple[int, ...], Session] = {}
        found = []
        for frame in self._held:
            pixels = _pixels(frame)
            if pixels.shape not in sessions:
                sessions[pixels.shape] = open_derived(self._name, content, (pixels.shape[0], pixels.shape[1]))
            found.append(boxes_of(sessions[pixels.shape], pixels))
        self._quick[content] = found
        pairs = zip(self._exact, found, strict=True)
        return agreement((above(exact, confidence), above(quick, confidence)) for exact, quick in pairs)

    def _profile(self, content: bytes) -> Counter[str]:
        return operators_run(self._name, content, _pixels(self._held[0]))

    def _speed(self, attempt: Attempt) -> Speed:
        pixels = _pixels(self._held[0])
        exact = self._session(self._held[0])
        quick = open_derived(self._name, attempt.content, (pixels.shape[0], pixels.shape[1]))
        best = [0.0, 0.0]
        for _, (place, session) in itertools.product(range(TURNS), enumerate((exact, quick))):
            best[place] = max(best[place], throughput(session, pixels, self._workers, TURN_S).per_cpu_s)
        return Speed(best[0] * self._workers, best[1] * self._workers, self._workers)

    def _marked(self, compared: Sequence[Compared]) -> Iterator[Marked]:
        for clip, truth in self._truths.items():
            own = [each for each in compared if each.frame.source == clip and each.frame.index in truth]
            if not own:
                raise UsageError(f"none of the held-out frames of {clip} is marked: mark more of them")
            true = [truth[each.frame.index] for each in own]
            classes = np.unique(np.concatenate([boxes.class_id for boxes in truth.values()]))
            exact = [_in_source(each.frame, each.exact, classes) for each in own]
            quick = [_in_source(each.frame, each.quick, classes) for each in own]
            yield Marked(clip, agreement(zip(true, exact, strict=True)), agreement(zip(true, quick, strict=True)))

    def _frames(self) -> Iterator[Frame]:
        each = max(6, PICTURES // len(self._asked.clips))
        for clip in self._asked.clips:
            yield from spread(clip, each, self._loaded.view)

    def _feeds(self) -> Iterator[Feed]:
        for frame in self._calibrating:
            yield self._session(frame).feed(_pixels(frame))

    def _session(self, frame: Frame) -> Session:
        height, width = _pixels(frame).shape[:2]
        return self._loaded.session(height, width)


def _pixels(frame: Frame) -> Pixels:
    if frame.network is None:
        raise ValueError(f"frame {frame.index} of {frame.source} was not prepared for the network")
    return frame.network


def _in_source(frame: Frame, boxes: Boxes, classes: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Boxes:
    """Boxes of marked classes in pixels of the source picture; nobody can tell whether others are right."""
    own = boxes.take(np.isin(boxes.class_id, classes))
    if frame.letterbox is None:
        raise ValueError(f"frame {frame.index} of {frame.source} was not prepared for the network")
    return Boxes(frame.letterbox.to_source(own.xyxy), own.confidence, own.class_id)


def _truths(asked: Asked, names: Sequence[str]) -> dict[str, Truth]:
    if len(asked.truths) > len(asked.clips):
        raise UsageError(f"{len(asked.truths)} files of marked boxes are given for {len(asked.clips)} clips")
    return {clip.name: read_truth(path, names) for clip, path in zip(asked.clips, asked.truths, strict=False)}
