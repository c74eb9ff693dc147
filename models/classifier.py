"""Classifying crops: pictures of any size in, a probability for each label out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.catalogue import INT8, ModelFile, content_of, default_build
from models.describe import describe
from models.families import fitting
from models.providers import OPENVINO, options_of
from models.runtime import ORT_ERRORS, create, first_line, options_for
from models.session import provider_for
from models.spec import InputSpec, ModelSpec, Preparation
from stream.errors import ModelError

Pixels = NDArray[np.uint8]
Probabilities = NDArray[np.float32]

REFINER_FLOAT = "efficientnet-lite0"
REFINER_INT8 = "efficientnet-lite0-int8"

DEFAULT_SIZE_PX = 224
"""What networks trained on ImageNet take; for those that leave it open."""

MAX_BATCH = 256
"""Crops that are computed on at a time; more are taken in turns."""

# How far the sum of a picture's outputs may be from one for them to be probabilities already.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Guess:
    """A label and how probable it is, from 0 to 1."""

    label: str
    probability: float


class Classifier:
    """A loaded network that gives each crop a probability for every label. Several threads may use it at once.

    Attributes:
        names: labels by number.
        height, width: the size of its pictures in pixels.
        provider: the execution provider in use.
    """

    def __init__(self, runtime: ort.InferenceSession, spec: ModelSpec, labels: Sequence[str] | None) -> None:
        self._runtime = runtime
        self._spec = spec
        self._batch = _fixed_batch(runtime)
        self.provider: str = runtime.get_providers()[0]
        self.height = spec.input.height or (spec.imgsz[0] if spec.imgsz else DEFAULT_SIZE_PX)
        self.width = spec.input.width or (spec.imgsz[1] if spec.imgsz else DEFAULT_SIZE_PX)
        self._gives_probabilities = False
        scores = self.run(_noise(self.height, self.width), softmax=False)
        self._gives_probabilities = bool((scores >= 0).all() and abs(scores.sum() - 1) < _SUM_TOLERANCE)
        self.names = _names(spec, labels, scores.shape[1])

    def classify(self, crops: Sequence[Pixels]) -> Probabilities:
        """A row of probabilities, one per label, for each uint8 ``(h, w, 3)`` BGR crop of any size.

        Raises:
            ModelError: the network fails on them.
        """
        pictures = np.zeros((len(crops), self.height, self.width, 3), np.uint8)
        for number, crop in enumerate(crops):
            pictures[number] = self.prepare(crop)
        return self.run(pictures)

    def prepare(self, crop: Pixels) -> Pixels:
        """A uint8 ``(h, w, 3)`` BGR crop as the network sees it: ``(height, width, 3)``, in RGB where it takes that.

        It is stretched. Keeping its shape was tried on crops of street scenes, with bars or by cutting the ends off:
        the labels that fit got a tenth to a fifth less of the probability.
        """
        import cv2

        shrinks = crop.shape[0] > self.height and crop.shape[1] > self.width
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        scaled = cv2.resize(crop, (self.width, self.height), interpolation=how)
        pixels: Pixels = np.asarray(
            cv2.cvtColor(scaled, cv2.COLOR_BGR2RGB) if self._spec.input.rgb else scaled, np.uint8
        )
        return pixels

    def run(self, pictures: Pixels, *, softmax: bool = True) -> Probabilities:
        """Probabilities ``(n, labels)`` of pictures ``(n, height, width, 3)`` that :meth:`prepare` made.

        Raises:
            ModelError: they have another size, or the network fails on them.
        """
        if pictures.shape[1:] != (self.height, self.width, 3) or pictures.dtype != np.uint8:
            raise ModelError(
                f"{self._spec.name} takes uint8 (n, {self.height}, {self.width}, 3) pixels, got"
                f" {pictures.dtype} {pictures.shape}"
            )
        if not len(pictures):
            return np.zeros((0, len(self.names)), np.float32)
        step = self._batch or MAX_BATCH
        parts = [self._scores(pictures[begin : begin + step]) for begin in range(0, len(pictures), step)]
        scores = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return _softmax(scores) if softmax and not self._gives_probabilities else scores

    def warm_up(self, batch: int = 1) -> None:
        """Run on black pictures, so that the first real ones find memory and caches ready."""
        self.run(np.zeros((batch, self.height, self.width, 3), np.uint8))

    def _scores(self, pictures: Pixels) -> Probabilities:
        count = len(pictures)
        if self._batch is not None and count < self._batch:
            pictures = np.concatenate([pictures, np.zeros((self._batch - count, *pictures.shape[1:]), np.uint8)])
        try:
            outputs = self._runtime.run([self._spec.outputs[0].name], {self._spec.input.name: self._feed(pictures)})
        except ORT_ERRORS as exc:
            raise ModelError(f"{self._spec.name} failed on a batch of {count}: {first_line(exc)}") from exc
        scores = np.asarray(outputs[0], np.float32)
        if len(scores) != len(pictures) or scores.size == 0:
            raise ModelError(f"{self._spec.name} answered {scores.shape} to {len(pictures)} pictures")
        return scores.reshape(len(scores), -1)[:count]

    def _feed(self, pictures: Pixels) -> NDArray[Any]:
        wants = self._spec.input
        values: NDArray[Any] = pictures
        if wants.dtype != "uint8":
            values = _normalised(pictures, wants)
        return np.ascontiguousarray(values if wants.layout == "NHWC" else values.transpose(0, 3, 1, 2))


def default_classifier(flags: Collection[str] | None = None) -> str:
    """The bundled build that is the faster one on a processor with these flags (None: this one)."""
    return REFINER_INT8 if default_build(flags)[0] == INT8 else REFINER_FLOAT


def open_classifier(
    model: ModelFile,
    *,
    device: str = "auto",
    threads: int,
    labels: Sequence[str] | None = None,
    preparation: Preparation | None = None,
) -> Classifier:
    """Load a classifier.

    ``labels`` are its class names by number where the file does not say them; ``preparation`` is how it wants its
    pixels where neither its metadata nor levels from 0 to 1 in RGB are right.

    Raises:
        ModelError: the file changed since it was found, is no classifier of one picture, names no labels or another
            number of them than it has outputs, or the device is not here.
    """
    provider = provider_for(device)
    if provider == OPENVINO:
        raise ModelError("crops are classified by onnxruntime alone, not by OpenVINO: choose the device auto or cpu")
    runtime = create(str(model.path), content_of(model), options_for(threads), options_of(provider, None))
    spec = describe(model.name, runtime)
    if not _may_classify(spec):
        outputs = ", ".join(str(output) for output in spec.outputs)
        raise ModelError(f"{model.name} is no classifier: its task is {spec.task!r}, its outputs are {outputs}")
    if preparation is not None:
        spec = replace(spec, input=_prepared(spec.input, preparation))
    return Classifier(runtime, spec, labels)


def top_k(probabilities: Probabilities, names: Sequence[str], k: int = 5) -> tuple[Guess, ...]:
    """The ``k`` most probable labels of one row, best first; of equals the one with the lower number."""
    k = min(k, len(probabilities))
    candidates = np.flatnonzero(probabilities >= np.partition(probabilities, -k)[-k])
    best = candidates[np.argsort(-probabilities[candidates], kind="stable")[:k]]
    return tuple(Guess(names[number], float(probabilities[number])) for number in best)


def _may_classify(spec: ModelSpec) -> bool:
    """Whether a model gives each picture a row of scores. One whose exporter wrote no task is taken for a detector."""
    shape = spec.outputs[0].shape
    is_row = len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1))
    return is_row and (spec.task == "classify" or (spec.task == "detect" and fitting(spec) is None))


def _prepared(wants: InputSpec, preparation: Preparation) -> InputSpec:
    first, second, third = preparation.std
    if 0 in preparation.std:
        raise ModelError("a std of 0 cannot be divided by")
    scale = (1 / first, 1 / second, 1 / third)
    return replace(wants, rgb=preparation.rgb, mean=preparation.mean, scale=scale)


def _normalised(pictures: Pixels, wants: InputSpec) -> NDArray[Any]:
    levels = pictures.astype(np.float32)
    if any(wants.mean):
        levels -= np.asarray(wants.mean, np.float32)
    levels *= np.asarray(wants.scale, np.float32)
    values: NDArray[Any] = levels.astype(wants.dtype, copy=False)
    return values


def _softmax(scores: Probabilities) -> Probabilities:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: Probabilities = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _fixed_batch(runtime: ort.InferenceSession) -> int | None:
    size = runtime.get_inputs()[0].shape[0]
    return size if isinstance(size, int) and size > 0 else None


def _noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)


def _names(spec: ModelSpec, labels: Sequence[str] | None, count: int) -> tuple[str, ...]:
    names = tuple(spec.names if labels is None else labels)
    if not names:
        raise ModelError(f"{spec.name} names no classes: give its {count} labels")
    if len(names) != count:
        raise ModelError(f"{spec.name} tells {count} classes apart, but there are {len(names)} labels for them")
    return names
