"""Reading a TensorFlow.js graph model: its nodes in order and its weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Node:
    """One operation; an input may carry ``:n`` for the n-th output of its maker."""

    name: str
    op: str
    inputs: Sequence[str]
    attributes: dict[str, Any]

    def ints(self, name: str) -> list[int]:
        """A list attribute such as strides, in the order of the stored layout."""
        return [int(value) for value in self.attributes[name]["list"]["i"]]


@dataclass(frozen=True, slots=True)
class SourceGraph:
    """Nodes in topological order without constants, and weights by name (float16 stays float16)."""

    nodes: Sequence[Node]
    weights: Weights


def parse_graph(graph_json: bytes, weights_bin: bytes) -> SourceGraph:
    """Parse a graph model's JSON and its one weight file."""
    model = json.loads(graph_json)
    nodes = [
        Node(raw["name"], raw["op"], raw.get("input", []), raw.get("attr", {}))
        for raw in model["modelTopology"]["node"]
        if raw["op"] != "Const"
    ]
    return SourceGraph(nodes, _weights(model["weightsManifest"], weights_bin))


def _weights(manifest: list[dict[str, Any]], blob: bytes) -> Weights:
    weights: Weights = {}
    offset = 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        dtype = np.dtype(entry.get("quantization", entry)["dtype"]).newbyteorder("<")
        count = int(np.prod(entry["shape"], dtype=np.int64))
        values = np.frombuffer(blob, dtype, count, offset).reshape(entry["shape"])
        weights[entry["name"]] = values.astype(dtype.newbyteorder("="))
        offset += values.nbytes
    if offset != len(blob):
        raise ValueError(f"the weight file has {len(blob)} bytes, its manifest describes {offset}")
    return weights
