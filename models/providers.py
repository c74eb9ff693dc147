"""Which execution provider runs a model, and how it is set up."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from stream.errors import ModelError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
COREML = "CoreMLExecutionProvider"
OPENVINO = "OpenVINO"
"""A runtime of its own; the rest are providers of onnxruntime."""
AUTO = "auto"
PROVIDERS: Mapping[str, str] = {"cuda": CUDA, "coreml": COREML, "openvino": OPENVINO, "cpu": CPU}

_WAY_OUT = {"openvino": "pip install 'videodisco[openvino]'"}


def default_device(available: Collection[str]) -> str:
    """What ``auto`` means where nothing was measured: the CPU, by whose answers all others are judged; but CUDA
    where somebody installed an onnxruntime with it, since no detector runs faster without."""
    return "cuda" if CUDA in available else "cpu"


def choose(device: str, available: Collection[str]) -> str:
    """The provider for ``device``, ``auto`` being :func:`default_device`.

    Raises:
        ModelError: the device is unknown or not here.
    """
    here = devices_among(available)
    if device == AUTO:
        return PROVIDERS[default_device(available)]
    if device not in PROVIDERS:
        raise ModelError(f"there is no device {device!r}: choose {AUTO}, {', '.join(PROVIDERS)}")
    if device not in here:
        way_out = f": {_WAY_OUT[device]}" if device in _WAY_OUT else f"; here are {', '.join(here)}"
        raise ModelError(f"the device {device!r} is not available here{way_out}")
    return PROVIDERS[device]


def devices_among(available: Collection[str]) -> list[str]:
    """The devices whose providers are available."""
    return [name for name, provider in PROVIDERS.items() if provider in available]


def device_of(provider: str) -> str:
    """The device that a provider in use stands for; empty for one we know nothing of."""
    return next((name for name, known in PROVIDERS.items() if provider.partition(" ")[0] == known), "")


def options_of(provider: str, cache: Path | None) -> list[tuple[str, dict[str, str]]]:
    """A provider of onnxruntime with its options, and the CPU behind it for what it cannot do."""
    options: dict[str, str] = {}
    if provider == COREML:
        options = {
            "ModelFormat": "MLProgram",
            "MLComputeUnits": "ALL",
            "RequireStaticInputShapes": "1",
            "EnableOnSubgraphs": "0",
        }
        if cache is not None:
            options["ModelCacheDirectory"] = str(cache)
    ordered = [(provider, options)]
    return ordered if provider == CPU else [*ordered, (CPU, {})]
