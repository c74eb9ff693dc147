"""Well-known detectors and where their publishers keep them.

Addresses, sizes and hashes were taken from public material in November 2026, not from the publishers' servers, which
could not be reached when this was written; ``vouched`` says from where. None of the publishers states hashes itself.
An entry without a hash is pulled only once its user has seen and confirmed the hash of what came. Nothing AGPL
is fetched: for that, the publisher's own export is described.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from models.shelf.manifest import SourceCard

_YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
_NANODET = "https://github.com/RangiLyu/nanodet/releases/download/v1.0.0-alpha-1"
_DFINE = "https://huggingface.co/onnx-community"
_SEVERAL = "computed from the release's file by several independent projects that publish it; not tried here"
_ONE = "computed from the publisher's file by one project that publishes it; not tried here"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A model that can be pulled. ``published`` is what its authors say of it, on COCO val2017."""

    name: str
    title: str
    licence: str
    url: str
    published: str
    size_bytes: int | None = None
    sha256: str = ""
    vouched: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in ("name", "title", "licence", "size_bytes", "url", "published")}

    def source(self, sha256: str = "") -> SourceCard:
        """What a manifest says of where it comes from; ``sha256`` is that of what came, where none is known."""
        vouched = self.vouched or "confirmed by the user who pulled it"
        return SourceCard(location=self.url, sha256=self.sha256 or sha256, verified=vouched)


@dataclass(frozen=True, slots=True)
class OwnExport:
    """A model whose licence leaves it to its user to fetch and export it."""

    name: str
    title: str
    licence: str
    weights: str
    published: str

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "commands": self.commands}

    @property
    def commands(self) -> tuple[str, ...]:
        """What to type; the environment of its own keeps torch and AGPL code out of this one."""
        return (
            "python3 -m venv ultralytics",
            "ultralytics/bin/pip install ultralytics onnx",
            f"ultralytics/bin/python -c \"from ultralytics import YOLO; YOLO('{self.weights}')\"",
            f"videodisco models export {self.weights} --python ultralytics/bin/python",
        )


PULLABLE = (
    Upstream(
        "yolox-nano",
        "YOLOX-Nano 416",
        "Apache-2.0",
        f"{_YOLOX}/yolox_nano.onnx",
        "mAP 25.8, 0.91 M parameters, 1.08 GFLOPs",
        3_659_407,
        "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
        _SEVERAL,
    ),
    Upstream(
        "yolox-tiny",
        "YOLOX-Tiny 416",
        "Apache-2.0",
        f"{_YOLOX}/yolox_tiny.onnx",
        "mAP 32.8, 5.06 M parameters, 6.45 GFLOPs",
        20_219_662,
        "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7",
        _SEVERAL,
    ),
    Upstream(
        "yolox-s",
        "YOLOX-S 640",
        "Apache-2.0",
        f"{_YOLOX}/yolox_s.onnx",
        "mAP 40.5, 9.0 M parameters, 26.8 GFLOPs",
        35_858_002,
        "c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063",
        _SEVERAL,
    ),
    Upstream(
        "nanodet-plus-m-416",
        "NanoDet-Plus-m 416",
        "Apache-2.0",
        f"{_NANODET}/nanodet-plus-m_416.onnx",
        "mAP 30.4, 1.52 GFLOPs",
        None,
        "59d2f166088889c902f523bf08079391993491324f0d84847e3c4016a8f7cc3d",
        _SEVERAL,
    ),
    Upstream(
        "nanodet-plus-m-1.5x-416",
        "NanoDet-Plus-m-1.5x 416",
        "Apache-2.0",
        f"{_NANODET}/nanodet-plus-m-1.5x_416.onnx",
        "mAP 34.1, 2.97 GFLOPs",
    ),
    Upstream(
        "d-fine-n",
        "D-FINE-N 640",
        "Apache-2.0",
        f"{_DFINE}/dfine_n_coco-ONNX/resolve/380d2839c327efaf65dd0fe0c2c10ab7fadd5473/onnx/model.onnx",
        "mAP 42.8, about 4 M parameters; one project reports low scores from this export",
        15_258_358,
        "0f684f409618ee8a822410e754a29caa817d1aa16283ce89cad936d0a48e2f35",
        _SEVERAL,
    ),
    Upstream(
        "d-fine-s",
        "D-FINE-S 640",
        "Apache-2.0",
        f"{_DFINE}/dfine_s_coco-ONNX/resolve/a3cf03147a9b86c78475139115c8ac142577352d/onnx/model.onnx",
        "mAP 48.5",
        41_535_197,
        "cd8a49a945feda6d28c6304ae8ae85c2759ba1d78a5a83a22c5ce8db82ef7238",
        _ONE,
    ),
    Upstream(
        "rt-detr-r18",
        "RT-DETR R18 640, 8-bit",
        "Apache-2.0",
        f"{_DFINE}/rtdetr_r18vd/resolve/main/onnx/model_quantized.onnx",
        "about 20 M parameters; the accuracy of the 8-bit export is not stated",
        21_713_196,
        "85703b0f56dbaceb89b21122e580fd11e11a879111fd727d0e9abdaf0e3620bf",
        _ONE,
    ),
)

OWN_EXPORTS = (
    OwnExport("yolov8n", "YOLOv8n 640", "AGPL-3.0", "yolov8n.pt", "mAP 37.3, 8.7 GFLOPs"),
    OwnExport("yolo11n", "YOLO11n 640", "AGPL-3.0", "yolo11n.pt", "mAP 39.5, 6.5 GFLOPs"),
    OwnExport("yolo26n", "YOLO26n 640", "AGPL-3.0", "yolo26n.pt", "mAP 40.9, 5.4 GFLOPs"),
)


def whereabouts(name: str) -> str:
    """How a well-known model that is not here comes here, to end a sentence about it; empty for any other name."""
    if any(entry.name == name for entry in PULLABLE):
        return f"is not here yet: videodisco models pull {name} fetches it"
    own = next((entry for entry in OWN_EXPORTS if entry.name == name), None)
    if own is None:
        return ""
    return (
        f"is not here, and its licence ({own.licence}) leaves it to you to export it: videodisco models export"
        f" {own.weights} (videodisco models pull {name} prints every step)"
    )
