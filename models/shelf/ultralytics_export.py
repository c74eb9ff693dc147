"""Exporting an Ultralytics .pt to ONNX, run by the Python of whoever has ultralytics: it imports nothing of ours.

    python -c SOURCE '{"weights": "best.pt", "image_size": null}'

Prints a line of JSON as its last: where the export is and what made it, or what is wrong.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

OPSET = 17
"""What every PyTorch since 1.13 writes, and RT-DETR needs more than 15."""


def export(weights: str, image_size: int | None) -> dict[str, str]:
    """Load the weights, which runs what is in them, and export them beside themselves."""
    absent = [name for name in ("ultralytics", "onnx") if importlib.util.find_spec(name) is None]
    if absent:
        return {"missing": " and ".join(absent)}
    import ultralytics  # type: ignore[import-not-found] # in the user's own environment alone

    model = ultralytics.YOLO(weights)
    if model.task != "detect":
        return {"problem": f"it is a model to {model.task}, and only those that detect can be used"}
    options: dict[str, Any] = {"imgsz": image_size} if image_size else {}
    exported = model.export(
        format="onnx",
        opset=OPSET,
        # Constants are folded once more when the model is loaded: worth no package that is not there.
        simplify=importlib.util.find_spec("onnxslim") is not None,
        # Each picture is then computed in its own shape; RT-DETR knows one only.
        dynamic=not _is_detr(model),
        **options,
    )
    return {"exported": str(exported), "version": str(ultralytics.__version__)}


def _is_detr(model: Any) -> bool:
    return "RTDETR" in type(model.model.model[-1]).__name__


def main(asked: str) -> None:
    try:
        answer = export(**json.loads(asked))
    except Exception as exc:  # noqa: BLE001 - the process's boundary: whatever it is, who asked is told
        answer = {"problem": f"{type(exc).__name__}: {exc}"}
    print("\n" + json.dumps(answer))  # noqa: T201 - what the parent reads


if __name__ == "__main__":
    main(sys.argv[1])
