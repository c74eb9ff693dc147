"""Is this file safe to hand to a runtime? Looked at as bytes, without parsing libraries and without running anything.

What is refused: bytes that are no ONNX model, operators that need foreign code, tensors that declare what they do
not hold, sizes that would fill the memory, nesting and loops that would not end, and weights outside the folder. The
work is bounded by :data:`MAX_FIELDS`, whatever the file says of itself.
"""

from __future__ import annotations

import math
from collections import ChainMap, Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

from models import tensors
from models.graphs import Function, Graph, Node, expanded_nodes
from models.tensors import MAX_RANK, Tensor
from models.wire import Budget, MalformedError, TooMuchWorkError, fields, message, text
from stream.errors import ModelError

# A detector has some hundred to a few thousand nodes, each of some ten fields.
MAX_FIELDS = 1_000_000
MAX_NODES = 50_000
MAX_FUNCTIONS = 2_000
MAX_SIDE = 1 << 16
MAX_INPUT_ELEMENTS = 1 << 28
MAX_LOOP_ROUNDS = 1_000_000
MAX_LOOP_DEPTH = 2

Constants = ChainMap[str, tuple[float, ...]]

# Operators that onnxruntime itself brings; all others would be code loaded from somewhere.
_BUILT_IN = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"})
# Which input of an operator is the size of what it makes.
_SIZE_INPUTS: Mapping[str, int] = {
    "ConstantOfShape": 0,
    "Expand": 1,
    "Tile": 1,
    "Upsample": 1,
    "OneHot": 1,
    "CenterCropPad": 1,
    "MaxUnpool": 2,
    "HannWindow": 0,
    "HammingWindow": 0,
    "BlackmanWindow": 0,
}
_SIDE_ATTRIBUTES = frozenset({"pads", "kernel_shape", "dilations", "strides", "output_shape", "output_padding"})
# The operators that have weights of their own.
_WEIGHTY = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen of a model: enough for its card, and for reading weights that lie in further files."""

    nodes: int
    operators: Mapping[str, int]
    weights: Mapping[int, int]
    external: tuple[str, ...]
    metadata: Mapping[str, str]
    fields_read: int

    @property
    def precision(self) -> str:
        """The numbers most of the weights are stored in, and whether it computes in 8 bits."""
        if any(operator.startswith(("QLinear", "QuantizeLinear", "DynamicQuantize")) for operator in self.operators):
            return "int8"
        names = {tensors.FLOAT16: "float16", tensors.BFLOAT16: "bfloat16", tensors.INT8: "int8", tensors.UINT8: "int8"}
        most = max(self.weights, key=lambda kind: self.weights[kind], default=tensors.FLOAT)
        weighty = sum(self.operators.get(operator, 0) for operator in _WEIGHTY)
        if most == tensors.FLOAT16 and 0 < weighty <= self.operators.get("Cast", 0):
            return "float32, weights stored as float16"  # each is cast before it is used
        return names.get(most, "float32")


def survey(content: bytes, name: str) -> Survey:
    """Look through an ONNX file.

    Raises:
        ModelError: one sentence that begins with ``name`` and says what is wrong with the file.
    """
    watch = _Watch(Budget(MAX_FIELDS))
    try:
        return watch.model(memoryview(content))
    except ModelError as exc:
        raise ModelError(f"{name} is refused: it {exc}") from exc
    except MalformedError as exc:
        raise ModelError(f"{name} is refused: it is damaged, or no ONNX model at all") from exc
    except TooMuchWorkError as exc:
        raise ModelError(f"{name} is refused: it has more than {MAX_FIELDS} parts, no detector has") from exc


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where a node stands: the short constants it sees, and the loops around it."""

    constants: Constants
    rounds: int = 1
    loops: int = 0


@dataclass(slots=True)
class _Watch:
    """Goes through the messages of one file and keeps count."""

    budget: Budget
    nodes: int = 0
    operators: Counter[str] = field(default_factory=Counter)
    weights: Counter[int] = field(default_factory=Counter)
    external: set[str] = field(default_factory=set)
    domains: frozenset[str] = _BUILT_IN

    def model(self, content: memoryview) -> Survey:
        metadata: dict[str, str] = {}
        functions: list[Function] = []
        graphs: list[Graph] = []
        for number, value in fields(content, self.budget):
            if number == 7:
                graphs.append(Graph.read(message(value), self.budget))
            elif number == 14:
                entry = dict(fields(message(value), self.budget))
                metadata[text(entry.get(1, 0))] = text(entry.get(2, 0))
            elif number == 25:
                functions.append(Function.read(message(value), self.budget))
        if not any(graph.nodes for graph in graphs):
            raise ModelError("holds no network")
        self._check(graphs, functions)
        return Survey(
            self.nodes,
            dict(self.operators),
            dict(self.weights),
            tuple(sorted(self.external)),
            metadata,
            MAX_FIELDS - self.budget.fields_left,
        )

    def _check(self, graphs: list[Graph], functions: list[Function]) -> None:
        if len(functions) > MAX_FUNCTIONS:
            raise ModelError(f"defines {len(functions)} functions, no detector does")
        self.domains = _BUILT_IN | {function.domain for function in functions}
        for graph in graphs:
            _check_shapes(graph.inputs + graph.outputs)
            self._graph(graph, _Scope(ChainMap()))
        for function in functions:
            self._nodes(function.nodes, _Scope(ChainMap()))
        nodes = expanded_nodes([node for graph in graphs for node in graph.nodes], functions, MAX_NODES)
        if max(nodes, self.nodes) > MAX_NODES:
            raise ModelError(f"has more than {MAX_NODES} operations, no detector has")

    def _graph(self, graph: Graph, scope: _Scope) -> None:
        for tensor in graph.tensors:
            self._weigh(tensor)
            if tensor.values is not None:
                scope.constants[tensor.name] = tensor.values
        self._nodes(graph.nodes, scope)

    def _nodes(self, nodes: Iterable[Node], scope: _Scope) -> None:
        for node in nodes:
            self.nodes += 1
            self.operators[node.operator] += 1
            if node.domain not in self.domains:
                raise ModelError(
                    f"needs the operator {node.operator[:60]!r} of {node.domain[:60]!r}, "
                    "code that is not part of onnxruntime"
                )
            for tensor in node.tensors:
                self._weigh(tensor)
            if node.constant is not None:
                scope.constants.update(dict.fromkeys(node.outputs, node.constant))
            _check_sizes(node, scope.constants)
            self._inside(node, scope)

    def _inside(self, node: Node, scope: _Scope) -> None:
        """The graphs that a node runs: the branches of an If, the body of a loop."""
        loops = scope.loops + (node.operator in ("Loop", "Scan"))
        if loops > MAX_LOOP_DEPTH:
            raise ModelError(f"has loops within loops within loops (at {node.name[:60]!r})")
        rounds = _rounds(node, scope) if node.graphs else scope.rounds
        for graph in node.graphs:
            self._graph(graph, _Scope(scope.constants.new_child(), rounds, loops))

    def _weigh(self, tensor: Tensor) -> None:
        self.weights[tensor.kind] += tensor.size_bytes
        if tensor.is_external:
            self.external.add(tensor.external.get("location", ""))


def _check_shapes(shapes: Iterable[tuple[str, list[int]]]) -> None:
    for name, shape in shapes:
        known = [size for size in shape if size > 0]
        # The rank first: multiplying a million sizes would take as long as the shape is absurd.
        if len(shape) > MAX_RANK or max(known, default=0) > MAX_SIDE or prod(known) > MAX_INPUT_ELEMENTS:
            told = " x ".join(map(str, shape[:8]))
            raise ModelError(f"takes or gives {name[:60]!r} of the shape {told}, which no detector needs")


def _check_sizes(node: Node, constants: Mapping[str, tuple[float, ...]]) -> None:
    place = _SIZE_INPUTS.get(node.operator)
    made = _made(node, constants) if place is None else prod(abs(n) for n in _input(node, place, constants) if n)
    sides: list[float] = [abs(n) for key in _SIDE_ATTRIBUTES & node.ints.keys() for n in node.ints[key]]
    if node.operator == "Pad":
        sides += [abs(n) for n in _input(node, 1, constants)]
    if made > MAX_INPUT_ELEMENTS or max(sides, default=0) > MAX_SIDE:
        told = made if made > MAX_INPUT_ELEMENTS else max(sides)
        raise ModelError(f"would fill the memory: {node.operator} {node.name[:60]!r} with a size of {told:.0f}")


def _made(node: Node, constants: Mapping[str, tuple[float, ...]]) -> float:
    """How many elements an operator makes out of constants alone; 0 where that is not known."""
    if node.operator == "Range":
        ends = [_input(node, place, constants) for place in range(3)]
        if all(len(end) == 1 for end in ends):
            start, limit, step = (end[0] for end in ends)
            return abs(limit - start) / abs(step) if step else float("inf")
    if node.operator == "Resize":
        factors = prod(abs(n) for n in _input(node, 2, constants))
        # A picture's worth of elements before it is enlarged.
        return max(factors * MAX_SIDE, prod(abs(n) for n in _input(node, 3, constants)))
    if node.operator.startswith("Random"):
        return prod(abs(n) for n in node.ints.get("shape", []))
    return 0


def _input(node: Node, place: int, constants: Mapping[str, tuple[float, ...]]) -> tuple[float, ...]:
    return constants.get(node.inputs[place], ()) if place < len(node.inputs) else ()


def _rounds(node: Node, scope: _Scope) -> int:
    """How often what is inside the node runs at least, as far as the file alone says."""
    if node.operator != "Loop" or not node.graphs[0].always_goes_on():
        return scope.rounds
    trips = _input(node, 0, scope.constants)
    if not trips and node.inputs and node.inputs[0]:
        return scope.rounds  # computed from the picture: not to be known from here
    rounds = scope.rounds * (max(1.0, trips[0]) if trips else math.inf)
    if not rounds <= MAX_LOOP_ROUNDS:
        raise ModelError(f"has a loop that would not end ({node.name[:60]!r})")
    return int(rounds)
