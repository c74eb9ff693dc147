"""The models that are installed with the program: each ``<name>.onnx`` with its card ``<name>.json``."""
