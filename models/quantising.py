"""Static INT8: making a network compute in 8-bit integers, with the ranges its values take on real inputs.

Only what computes is here. Inputs come as an iterator; where they are from is nobody's business in this room.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.matching import Agreement
from models.rewriting import cheaper_expectations
from stream.errors import ModelError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto

Feed = Mapping[str, "NDArray[np.generic]"]

_STEPS = ((1, 0), (1, 2), (1, 4), (1, 6), (2, 6), (2, 8), (3, 12))
"""How many convolutions stay in float, of each branch at the end and at the beginning. On a trained YOLOv8n and on the
bundled NanoDet the first ones made most of the drift: F1 of the latter rose from 0.960 over 0.969 and 0.972 to 0.980
with 0, 2, 4 and 6 of them, but only to 0.964 with a second one at each end instead."""

U8S8, S8S8 = "U8S8", "S8S8"
"""Unsigned or signed activations, and signed weights per channel."""

OPERATORS = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Sigmoid", "LeakyRelu", "Relu", "Clip", "HardSigmoid"),
    *("Concat", "Split", "Resize", "MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Transpose", "Squeeze"),
)
"""What onnxruntime computes in integers, or passes on as integers. No Pad: minus infinity would ruin its range."""

_LEAST_WEIGHTS = 256
"""A convolution with fewer is arithmetic in disguise, such as the expectation over bins in YOLOv8's head."""


def check_installed() -> None:
    """Raises UsageError where the package is missing that quantising needs."""
    import importlib.util

    if importlib.util.find_spec("onnx") is None:
        raise UsageError("quantising needs the onnx package: pip install 'videodisco[quantize]'")


def static_int8(
    source: Path,
    target: Path,
    feeds: Iterable[Feed],
    *,
    activations: str = U8S8,
    operators: Sequence[str] = OPERATORS,
    keep_float: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    ranges: Path | None = None,
) -> None:
    """Quantise the float network in ``source`` into ``target``.

    ``operators`` are the kinds of nodes to quantise, ``keep_float`` names those to spare, and ``options`` are the
    library's further ones. ``ranges`` is a file for what was seen on ``feeds``: where it is there, they are not asked.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._feeds: Iterator[Feed] = iter(feeds)

        def get_next(self) -> Feed | None:
            return next(self._feeds, None)

    with _quiet():
        quantize_static(
            source,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8 if activations == U8S8 else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(operators),
            nodes_to_exclude=list(keep_float),
            extra_options=dict(options or {}),
            calibration_cache_path=ranges,
        )


@dataclass(frozen=True, slots=True)
class Parts:
    """Which nodes to leave in float, in steps: each spares the network more than the one before."""

    steps: tuple[frozenset[str], ...] = ()


@dataclass(slots=True)
class Quantiser:
    """A float network, prepared once, that 8-bit networks are made of. Use it as a context: it keeps files meanwhile.

    Raises:
        ModelError: it computes in something else than float32.
    """

    content: bytes
    feeds: Iterable[Feed]
    _kept: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _folder: Path = Path()
    parts: Parts = Parts()

    def __enter__(self) -> Quantiser:
        self._folder = Path(self._kept.enter_context(tempfile.TemporaryDirectory(prefix="quantise-")))
        try:
            self.parts = self._prepare()
        except BaseException:
            self._kept.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._kept.close()

    def make(self, activations: str, keep_float: Iterable[str]) -> bytes:
        """The network in 8 bits but for these nodes, with the float network's metadata."""
        import onnx

        target = self._folder / "int8.onnx"
        static_int8(
            self._folder / "float.onnx",
            target,
            self.feeds,
            activations=activations,
            keep_float=sorted(keep_float),
            ranges=self._folder / "ranges.json",
        )
        made = onnx.load(target)
        metadata = {entry.key: entry.value for entry in onnx.load_from_string(self.content).metadata_props}
        onnx.helper.set_model_props(made, metadata)
        return bytes(made.SerializeToString(deterministic=True))

    def _prepare(self) -> Parts:
        """Fold what is constant, name every node (an unnamed one that is spared would spare all), and look around."""
        import onnx
        from onnxruntime.quantization.shape_inference import quant_pre_process

        _check_float(onnx.load_from_string(self.content))
        source, path = self._folder / "source.onnx", self._folder / "float.onnx"
        source.write_bytes(self.content)
        with _quiet():
            quant_pre_process(source, path, skip_symbolic_shape=True)
        model = onnx.load(path)
        for number, node in enumerate(model.graph.node):
            node.name = node.name or f"{node.op_type}_{number}"
        cheaper_expectations(model)
        onnx.save(model, path)
        return _parts(model)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way of quantising, and what came of it; ``problem`` says why it is out of the question, empty if it is not.

    ``float_step`` is how much was left in float, counted in :attr:`Parts.steps` from 0.
    """

    activations: str
    float_step: int
    agreement: Agreement
    integer_convolutions: int
    float_convolutions: int
    problem: str
    content: bytes = field(repr=False)

    def figures(self) -> dict[str, Any]:
        """What a report says of it."""
        return {
            "activations_and_weights": self.activations,
            "float_step": self.float_step,
            "integer_convolutions": self.integer_convolutions,
            "float_convolutions": self.float_convolutions,
            **self.agreement.figures(),
            "problem": self.problem,
        }


def search(
    quantiser: Quantiser,
    judge: Callable[[bytes], Agreement],
    profile: Callable[[bytes], Counter[str]],
    *,
    least_f1: float,
) -> Iterator[Attempt]:
    """For unsigned and for signed activations, leave more and more in float until what comes of it agrees.

    ``judge`` holds a quantised model against the float one, ``profile`` counts the operations that it really runs.
    """
    for activations in (U8S8, S8S8):
        for step, keep_float in enumerate(quantiser.parts.steps):
            content = quantiser.make(activations, keep_float)
            ran = profile(content)
            integers = ran["QLinearConv"] + ran["ConvInteger"]
            seen = judge(content)
            problem = ""
            if not integers:
                problem = "onnxruntime computes none of its convolutions in integers on this processor"
            elif seen.f1 < least_f1:
                problem = f"its boxes agree with the float model's by F1 {seen.f1:.3f}, less than {least_f1:g}"
            yield Attempt(activations, step, seen, integers, ran["Conv"] + ran["FusedConv"], problem, content)
            if not problem or not integers:
                break


def _parts(model: ModelProto) -> Parts:
    """The tail behind the last convolutions holds boxes and scores that differ a thousandfold: one scale for both would
    leave no score. Then go those convolutions themselves, the first ones (on whose drift all others build), and so on
    from both ends."""
    weights = {each.name: _count(each.dims) for each in model.graph.initializer}
    real = [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and weights.get(node.input[1], _LEAST_WEIGHTS) >= _LEAST_WEIGHTS
    ]
    levels = _levels(model, set(real))
    first = [node for node in real if node not in {name for name, level in levels.items() if level <= 2}]

    def spared(level: int, stem: int) -> frozenset[str]:
        tail = {name for name, own in levels.items() if own < level or (own == level and name in real)}
        return frozenset(tail | _up_to(model, set(first[:stem])))

    return Parts(tuple(spared(level, stem) for level, stem in _STEPS))


def _levels(model: ModelProto, real: set[str]) -> dict[str, int]:
    """How many convolutions lie between each node and the outputs at most, itself included."""
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    levels: dict[str, int] = {}
    for node in reversed(model.graph.node):  # they are in an order in which each comes before its readers
        behind = [levels[reader.name] for name in node.output for reader in readers.get(name, [])]
        levels[node.name] = max(behind, default=0) + (node.name in real)
    return levels


def _up_to(model: ModelProto, stem: set[str]) -> set[str]:
    """The nodes of the stem, what lies before them, and the activations that follow them."""
    if not stem:
        return set()
    last = max(place for place, node in enumerate(model.graph.node) if node.name in stem)
    following = {"Sigmoid", "Mul", "LeakyRelu", "Relu", "Clip", "HardSigmoid", "MaxPool"}
    nodes = list(model.graph.node)
    while last + 1 < len(nodes) and nodes[last + 1].op_type in following:
        last += 1
    return {node.name for node in nodes[: last + 1]}


def _check_float(model: ModelProto) -> None:
    from onnx import TensorProto

    kinds = {node.op_type for node in model.graph.node}
    if kinds & {"QuantizeLinear", "QLinearConv", "ConvInteger", "DynamicQuantizeLinear"}:
        raise ModelError("it computes in 8-bit integers already: quantise the float model it was made of")
    inputs = {entry.type.tensor_type.elem_type for entry in model.graph.input}
    if TensorProto.FLOAT16 in inputs:
        raise ModelError("it computes in float16: export it in float32 (half=False) and quantise that")
    if "Conv" not in kinds:
        raise ModelError("it has no convolutions, which are what 8-bit integers make faster")


def _count(dimensions: Iterable[int]) -> int:
    count = 1
    for size in dimensions:
        count *= size
    return count


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's advice, which it gives on the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
