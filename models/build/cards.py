"""The bundled models' files, and the cards beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx import ModelProto, helper

BUNDLED = Path(__file__).parents[1] / "bundled"


def write_model(model: ModelProto, name: str, metadata: Mapping[str, str], told: Mapping[str, Any], out: Path) -> None:
    """Write ``<name>.onnx`` with its metadata into the folder ``out``, and its card beside it.

    The card is what is ``told``, with what is known of the file; figures that were measured on this very file are kept.
    """
    helper.set_model_props(model, dict(metadata))
    model.producer_name, model.producer_version, model.doc_string = "videodisco", metadata["version"], ""
    content = model.SerializeToString(deterministic=True)
    (out / f"{name}.onnx").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    known = {key: metadata[key] for key in ("version", "task", "family")}
    file = {"file": f"{name}.onnx", "bytes": len(content), "sha256": sha256}
    card = out / f"{name}.json"
    write_card(card, {"name": name, **known, **file, **told, "measured": still_valid(card, sha256)})
    print(f"{name}.onnx  {len(content)} bytes  sha256 {sha256}")  # noqa: T201 - a maintainer's command


def write_card(path: Path, card: dict[str, Any]) -> None:
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def still_valid(card: Path, sha256: str) -> dict[str, Any]:
    """The figures of an earlier card if they were measured on this very file."""
    if not card.exists():
        return {}
    earlier = json.loads(card.read_text(encoding="utf-8"))
    measured: dict[str, Any] = earlier["measured"] if earlier["sha256"] == sha256 else {}
    return measured
