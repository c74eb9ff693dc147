"""An ONNX file's graphs, nodes and functions, as far as the guard needs to know them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from models.tensors import MAX_ELEMENTS, MAX_RANK, MAX_SMALL, Tensor, read_tensor
from models.wire import Budget, Value, fields, message, packed, signed, text
from stream.errors import ModelError

# Each level is a graph within a node's attribute; exporters nest two or three.
MAX_GRAPH_DEPTH = 8
MAX_CALL_DEPTH = 64

Shaped = tuple[str, list[int]]


@dataclass(slots=True)
class Node:
    """One operation. ``constant`` is the short list of numbers that a Constant node yields."""

    name: str = ""
    operator: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    ints: dict[str, list[int]] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    graphs: list[Graph] = field(default_factory=list)

    @property
    def constant(self) -> tuple[float, ...] | None:
        if self.operator != "Constant":
            return None
        if self.tensors:
            return self.tensors[0].values
        return next((tuple(self.ints[key]) for key in ("value_ints", "value_int") if key in self.ints), None)

    @classmethod
    def read(cls, content: memoryview, budget: Budget, depth: int = 0) -> Node:
        node = cls()
        for number, value in fields(content, budget):
            if number == 1:
                node.inputs.append(text(value))
            elif number == 2:
                node.outputs.append(text(value))
            elif number == 3:
                node.name = text(value)
            elif number == 4:
                node.operator = text(value)
            elif number == 5:
                node._attribute(message(value), budget, depth)
            elif number == 7:
                node.domain = text(value)
        return node

    def _attribute(self, content: memoryview, budget: Budget, depth: int) -> None:
        name, ints = "", list[int]()
        for number, value in fields(content, budget):
            if number == 1:
                name = text(value)
            elif number in (3, 8) and len(ints) <= MAX_SMALL:
                ints += [signed(entry) for entry, _ in zip(packed(value), range(MAX_SMALL), strict=False)]
            elif number in (5, 10):
                self.tensors.append(read_tensor(message(value), budget))
            elif number in (6, 11):
                self.graphs.append(Graph.read(message(value), budget, depth + 1))
            elif number in (22, 23):
                self.tensors += _sparse(message(value), budget)
        if ints:
            self.ints[name] = ints


@dataclass(slots=True)
class Graph:
    """Operations and what they take, give and hold. A shape's open sizes are 0."""

    nodes: list[Node] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    inputs: list[Shaped] = field(default_factory=list)
    outputs: list[Shaped] = field(default_factory=list)

    @classmethod
    def read(cls, content: memoryview, budget: Budget, depth: int = 0) -> Graph:
        if depth > MAX_GRAPH_DEPTH:
            raise ModelError(f"nests graphs more than {MAX_GRAPH_DEPTH} deep")
        graph = cls()
        for number, value in fields(content, budget):
            if number == 1:
                graph.nodes.append(Node.read(message(value), budget, depth))
            elif number == 5:
                graph.tensors.append(read_tensor(message(value), budget))
            elif number == 11:
                graph.inputs.append(_shaped(message(value), budget))
            elif number == 12:
                graph.outputs.append(_shaped(message(value), budget))
            elif number == 15:
                graph.tensors += _sparse(message(value), budget)
        return graph

    def always_goes_on(self) -> bool:
        """As the body of a loop: nothing it computes can end the loop before its last round."""
        if not self.outputs:
            return True
        condition = self.outputs[0][0]
        makers = {output: node for node in self.nodes for output in node.outputs}
        for _ in range(len(self.nodes) + 1):
            maker = makers.get(condition)
            if maker is None or maker.operator == "Constant":
                return True  # what came in, or a constant
            if maker.operator not in ("Identity", "Cast") or not maker.inputs:
                return False
            condition = maker.inputs[0]
        return True


@dataclass(slots=True)
class Function:
    """Operations that a node of this name stands for."""

    name: str = ""
    domain: str = ""
    nodes: list[Node] = field(default_factory=list)

    @classmethod
    def read(cls, content: memoryview, budget: Budget) -> Function:
        function = cls()
        for number, value in fields(content, budget):
            if number == 1:
                function.name = text(value)
            elif number == 7:
                function.nodes.append(Node.read(message(value), budget))
            elif number == 10:
                function.domain = text(value)
        return function


def expanded_nodes(nodes: Sequence[Node], functions: Sequence[Function], most: int) -> int:
    """How many operations there are once every function stands where it is called, or more than ``most``.

    Raises:
        ModelError: functions call themselves, or one another too deep.
    """
    known = {(function.domain, function.name): function for function in functions}
    counted: dict[tuple[str, str], int] = {}

    def count(inside: Iterable[Node], depth: int) -> int:
        if depth > MAX_CALL_DEPTH:
            raise ModelError(f"has functions that call themselves, or one another more than {MAX_CALL_DEPTH} deep")
        total = 0
        for key, times in Counter((node.domain, node.operator) for node in _all(inside)).items():
            if key in known and key not in counted:
                counted[key] = count(known[key].nodes, depth + 1)
            total += times * max(1, counted.get(key, 1))
        return min(total, most + 1)

    return count(nodes, 0)


def _all(nodes: Iterable[Node]) -> Iterable[Node]:
    for node in nodes:
        yield node
        for graph in node.graphs:
            yield from _all(graph.nodes)


def _sparse(content: memoryview, budget: Budget) -> list[Tensor]:
    """A sparse tensor's values and places; its own shape is what it becomes when it is filled in."""
    parts: list[Tensor] = []
    whole = Tensor()
    for number, value in fields(content, budget):
        if number in (1, 2):
            parts.append(read_tensor(message(value), budget))
        elif number == 3:
            whole.dims += [signed(size) for size in packed(value)]
    if len(whole.dims) > MAX_RANK or any(size < 0 for size in whole.dims) or whole.elements > MAX_ELEMENTS:
        raise ModelError("holds a sparse tensor of a shape that no detector needs")
    return parts


def _shaped(content: memoryview, budget: Budget) -> Shaped:
    """A ValueInfoProto's name and, of a tensor, its shape."""
    name, shape = "", list[int]()
    for number, value in fields(content, budget):
        if number == 1:
            name = text(value)
        elif number == 2:
            shape = [size for part in _inner(value, 1, budget) for size in _shape_of(part, budget)]
    return name, shape


def _shape_of(tensor_type: memoryview, budget: Budget) -> Iterable[int]:
    for shape in _inner(tensor_type, 2, budget):
        for dimension in _inner(shape, 1, budget):
            size = 0
            for number, value in fields(dimension, budget):
                if number == 1 and isinstance(value, int):
                    size = max(0, signed(value))
                elif number == 2:
                    text(value)  # a name for an open size, which must be one
            yield size


def _inner(content: Value, wanted: int, budget: Budget) -> Iterable[memoryview]:
    return (message(value) for number, value in fields(message(content), budget) if number == wanted)
