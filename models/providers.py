"""Which execution provider runs a model, and how it is set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stream.errors import ModelError

CPU = "CPUExecutionProvider"
AUTO = "auto"
PROVIDERS: Mapping[str, str] = {
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": CPU,
}


def choose(device: str, available: Sequence[str]) -> str:
    """The provider for ``device``; ``auto`` takes the first available in the order of :data:`PROVIDERS`.

    Raises:
        ModelError: the device is unknown or not in this build of onnxruntime.
    """
    here = [name for name, provider in PROVIDERS.items() if provider in available]
    if device == AUTO:
        return PROVIDERS[here[0]] if here else CPU
    if device not in PROVIDERS:
        raise ModelError(f"there is no device {device!r}: choose {AUTO}, {', '.join(PROVIDERS)}")
    if device not in here:
        raise ModelError(f"the device {device!r} is not available here: this onnxruntime offers {', '.join(here)}")
    return PROVIDERS[device]


def options_of(provider: str, threads: int, cache: Path | None) -> list[tuple[str, dict[str, str]]]:
    """The provider with its options, and the CPU behind it for what it cannot do."""
    options: dict[str, str] = {}
    if provider == PROVIDERS["coreml"]:
        options = {
            "ModelFormat": "MLProgram",
            "MLComputeUnits": "ALL",
            "RequireStaticInputShapes": "1",
            "EnableOnSubgraphs": "0",
        }
        if cache is not None:
            options["ModelCacheDirectory"] = str(cache)
    elif provider == PROVIDERS["openvino"]:
        # bfloat16 where the processor has it is what makes this provider worth having; elsewhere it is ignored.
        load_config = f'{{"CPU":{{"INFERENCE_PRECISION_HINT":"bf16","INFERENCE_NUM_THREADS":"{threads}"}}}}'
        options = {"device_type": "CPU", "load_config": load_config}
    ordered = [(provider, options)]
    return ordered if provider == CPU else [*ordered, (CPU, {})]
