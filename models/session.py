"""Running a model file: one class for every model, runtime and provider, arrays in and arrays out."""

from __future__ import annotations

import json
import logging
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models import openvino
from models.catalogue import ModelFile, content_of
from models.describe import describe, says_too_little, with_open_size
from models.providers import CPU, OPENVINO, choose, options_of
from models.runtime import ORT_ERRORS, OnnxRuntime, Runtime, create, first_line, options_for
from models.spec import InputSpec, ModelSpec
from stream.errors import ModelError

Pixels = NDArray[np.uint8]

_log = logging.getLogger(__name__)

# Where a model takes every size and names none: what most are exported at.
_USUAL_SIZE = (640, 640)


class Session:
    """A loaded model. ``run`` may be called from several threads at once.

    ``provider`` is what computes it, which is not always what was asked for: an execution provider of onnxruntime, or
    OpenVINO with the precision it computes in.
    """

    def __init__(self, runtime: Runtime, spec: ModelSpec, threads: int) -> None:
        self._runtime = runtime
        self._outputs = [output.name for output in spec.outputs]
        self._prepare = _AsIs(spec.input) if spec.input.dtype == "uint8" else _Normaliser(spec.input)
        self.spec = spec
        self.threads = threads
        self.provider = runtime.provider

    def run(self, pixels: Pixels) -> list[NDArray[Any]]:
        """Run on one uint8 ``(h, w, 3)`` picture in the channel order of ``spec.input``.

        A model of a larger batch sees it in the first place and zeros in the others.

        Raises:
            ModelError: the picture has another size than the model takes, or the model fails on it.
        """
        feed = self.feed(pixels)
        try:
            outputs = self._runtime.run(self._outputs, feed)
        except ORT_ERRORS as exc:
            raise ModelError(f"{self.spec.name} failed on a picture of {_size(pixels)}: {first_line(exc)}") from exc
        return outputs

    def feed(self, pixels: Pixels) -> dict[str, NDArray[Any]]:
        """What the network is given for a picture; it holds until the same thread's next one.

        Raises:
            ModelError: the picture has another size than the model takes.
        """
        self._check(pixels)
        return {self.spec.input.name: _batched(self._prepare(pixels), self.spec.input.batch), **self._size_of(pixels)}

    def warm_up(self, runs: int = 1) -> None:
        """Run on black pictures, so that the first real one finds memory and caches ready."""
        height, width = self.spec.input.height, self.spec.input.width
        if height is None or width is None:
            height, width = self.spec.imgsz or (self.spec.stride_px, self.spec.stride_px)
        for _ in range(runs):
            self.run(np.zeros((height, width, 3), np.uint8))

    def _size_of(self, pixels: Pixels) -> dict[str, NDArray[Any]]:
        """What a model that scales its boxes itself is told, so that they come in pixels of its own input."""
        wanted = self.spec.size_input
        if wanted is None:
            return {}
        row = (pixels.shape[1], pixels.shape[0])
        return {wanted.name: np.array([row] * (self.spec.input.batch or 1), wanted.dtype)}

    def _check(self, pixels: Pixels) -> None:
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise ModelError(f"{self.spec.name} takes uint8 (h, w, 3) pixels, got {pixels.dtype} {pixels.shape}")
        wanted = (self.spec.input.height, self.spec.input.width)
        if any(size not in (None, seen) for size, seen in zip(wanted, pixels.shape, strict=False)):
            raise ModelError(f"{self.spec.name} takes pictures of {wanted[1]}x{wanted[0]}, got {_size(pixels)}")


def open_session(
    model: ModelFile,
    *,
    device: str = "auto",
    threads: int,
    shape: tuple[int, int] | None,
    cache: Path | None = None,
    workers: int = 1,
) -> Session:
    """Load a model.

    ``device`` is auto, cpu, cuda, coreml or openvino; ``shape`` (height, width) fixes the sizes the model leaves
    open and has no effect on those it fixes itself: see the session's ``spec.input``. ``cache`` is a private folder
    for what a provider compiles of this very model (CoreML does). ``workers`` is how many threads will run it at a
    time, on ``threads`` cores each.

    Raises:
        ModelError: the file changed since it was found, is no model of one picture input, or the device is not here.
    """
    provider = provider_for(device)
    if provider == OPENVINO:
        session = _open_with_openvino(model, shape, threads, workers)
    else:
        providers = options_of(provider, cache)
        session = _open(model.name, str(model.path), content_of(model), shape, threads, providers)
        if session.provider != provider:
            _log.warning("%s was asked for but %s is in use for %s", provider, session.provider, model.name)
    batch = session.spec.input.batch or 1
    if batch > 1:
        _log.warning(
            "%s computes %d pictures at a time, one of them ours: export it with a batch of 1", model.name, batch
        )
    return session


def open_unadmitted(name: str, content: bytes, shape: tuple[int, int] | None) -> Session:
    """Load a model that nobody has admitted yet: only for a trial in a process that may die of it.

    Raises:
        ModelError: it is no model of one picture input.
    """
    return _open(name, name, content, shape, 1, [(CPU, {})])


def profile_unadmitted(name: str, content: bytes, pixels: Pixels) -> Counter[str]:
    """The kinds of operations that onnxruntime really ran for one picture, counted, with the same
    restriction.

    Raises:
        ModelError: it cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="profile-") as folder:
        options = options_for(1)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "run"))
        shape = (pixels.shape[0], pixels.shape[1])
        runtime = create(name, content, _fixed(options, _free_dimensions(_glance(name, content), shape)), [(CPU, {})])
        Session(OnnxRuntime(runtime), describe(name, runtime), 1).run(pixels)
        told = json.loads(Path(runtime.end_profiling()).read_text(encoding="utf-8"))
    kernels = (event for event in told if event["cat"] == "Node" and event["name"].endswith("_kernel_time"))
    return Counter(event["args"]["op_name"] for event in kernels)


def _open(
    name: str,
    origin: str,
    content: bytes,
    shape: tuple[int, int] | None,
    threads: int,
    providers: Sequence[tuple[str, dict[str, str]]],
) -> Session:
    options = _fixed(options_for(threads), _free_dimensions(_glance(origin, content), shape))
    runtime = create(origin, content, options, providers)
    return Session(OnnxRuntime(runtime), describe(name, runtime), threads)


def _open_with_openvino(model: ModelFile, shape: tuple[int, int] | None, threads: int, workers: int) -> Session:
    """What the model is like is asked of onnxruntime, so that nothing depends on who runs it."""
    origin, content = str(model.path), content_of(model)
    dimensions = _free_dimensions(_glance(origin, content), shape)
    glance = _glance(origin, content, dimensions)
    shapes = {entry.name: entry.shape for entry in glance.get_inputs()}
    runtime = openvino.open_runtime(model, shapes, threads=threads, workers=workers)
    return Session(runtime, describe(model.name, glance), threads)


def provider_for(device: str) -> str:
    """The provider that ``device`` (auto, cpu, cuda, coreml or openvino) means here.

    Raises:
        ModelError: the device is unknown or not available.
    """
    return choose(device, available_providers())


def available_providers() -> list[str]:
    """What can compute a model here, as far as can be told without trying."""
    installed = [OPENVINO] if openvino.is_installed() else []
    return [*ort.get_available_providers(), *installed]


def inspect(model: ModelFile) -> ModelSpec:
    """What a model says of itself, without preparing it to run: a tenth of the time of :func:`open_session`.

    Raises:
        ModelError: the file changed since it was found, or is no model of one picture input.
    """
    return _look(model.name, str(model.path), content_of(model))


def inspect_unadmitted(name: str, content: bytes) -> ModelSpec:
    """The same of a model that is only looked at and will not run: one on its way to the shelf.

    Raises:
        ModelError: it is no model of one picture input.
    """
    return _look(name, name, content)


def _look(name: str, origin: str, content: bytes) -> ModelSpec:
    """The description of a model, looked at once more at one size where it leaves open what its outputs are."""
    glance = _glance(origin, content)
    loose = describe(name, glance)
    dimensions = _free_dimensions(glance, loose.imgsz or _USUAL_SIZE)
    if not dimensions or not says_too_little(loose):
        return loose
    try:
        resolved = _glance(origin, content, dimensions)
    except ModelError:
        return loose  # it claims to take every size, but does not: what it says of itself is all there is
    return with_open_size(describe(name, resolved), loose)


def _glance(origin: str, content: bytes, dimensions: Sequence[tuple[str, int]] = ()) -> ort.InferenceSession:
    # Shapes that are computed inside are known only once what can be folded has been.
    options = options_for(1, optimised=bool(dimensions))
    return create(origin, content, _fixed(options, dimensions), [(CPU, {})])


def _fixed(options: ort.SessionOptions, dimensions: Sequence[tuple[str, int]]) -> ort.SessionOptions:
    for dimension, size in dimensions:
        options.add_free_dimension_override_by_name(dimension, size)
    return options


def _free_dimensions(glance: ort.InferenceSession, shape: tuple[int, int] | None) -> list[tuple[str, int]]:
    """The symbolic dimensions of the inputs and the sizes they shall have: a batch of one, and the shape."""
    wanted: dict[str, int] = {}
    for entry in glance.get_inputs():
        dimensions = list(entry.shape)
        sizes: dict[int, int] = {0: 1} if len(dimensions) in (2, 4) else {}
        if shape is not None and len(dimensions) in (3, 4):
            rows = len(dimensions) - (3 if dimensions[-1] == 3 else 2)
            sizes |= {rows: shape[0], rows + 1: shape[1]}
        wanted |= {dimensions[place]: size for place, size in sizes.items() if isinstance(dimensions[place], str)}
    return list(wanted.items())


def _batched(picture: NDArray[Any], batch: int | None) -> NDArray[Any]:
    if batch is None:
        return picture
    if batch == 1:
        return picture[None]
    pictures = np.zeros((batch, *picture.shape), picture.dtype)
    pictures[0] = picture
    return pictures


class _AsIs:
    """Hands pixels to a uint8 input."""

    def __init__(self, spec: InputSpec) -> None:
        self._channels_first = spec.layout == "NCHW"

    def __call__(self, pixels: Pixels) -> NDArray[Any]:
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) if self._channels_first else pixels)


class _Normaliser:
    """Turns pixels into a float input in buffers that are reused, one set per thread.

    Splitting with OpenCV, casting plane by plane and scaling in place took 0.25 ms for 640x640, where
    ``blobFromImage`` took 0.8 ms and one transposing numpy multiplication 0.7 ms.
    """

    def __init__(self, spec: InputSpec) -> None:
        # Only models with a float input need OpenCV, and importing it takes a tenth of a second.
        import cv2

        self._split = cv2.split
        self._spec = spec
        self._mean = np.array(spec.mean, np.float32).reshape(3, 1, 1)
        self._scale = np.array(spec.scale, np.float32).reshape(3, 1, 1)
        self._one_scale = len(set(spec.scale)) == 1
        self._buffers = threading.local()

    def __call__(self, pixels: Pixels) -> NDArray[Any]:
        planes, levels, ready = self._for(pixels.shape[0], pixels.shape[1])
        self._split(pixels, list(planes))
        np.copyto(levels, planes)
        if any(self._spec.mean):
            levels -= self._mean
        levels *= self._scale[0] if self._one_scale else self._scale
        if ready is not levels:
            np.copyto(ready, levels if self._spec.layout == "NCHW" else levels.transpose(1, 2, 0), casting="same_kind")
        return ready

    def _for(self, height: int, width: int) -> tuple[Pixels, NDArray[np.float32], NDArray[Any]]:
        """This thread's buffers: uint8 planes, float32 planes, and the array the model is fed."""
        kept = getattr(self._buffers, "kept", None)
        if kept is None or kept[0].shape[1:] != (height, width):
            levels = np.empty((3, height, width), np.float32)
            as_fed = self._spec.layout == "NCHW" and self._spec.dtype == "float32"
            shape = (3, height, width) if self._spec.layout == "NCHW" else (height, width, 3)
            ready = levels if as_fed else np.empty(shape, self._spec.dtype)
            kept = self._buffers.kept = (np.empty((3, height, width), np.uint8), levels, ready)
        planes, levels, ready = kept
        return planes, levels, ready


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
