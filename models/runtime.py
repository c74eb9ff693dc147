"""Opening onnxruntime sessions: how it is set up here, and what it raises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from stream.errors import ModelError

# Its messages reach the user as our errors; on its own it would write them to stderr as well.
SILENT = 4

# onnxruntime's exceptions share no base of their own; RuntimeError is what its bindings raise beside them, and
# UnicodeDecodeError where a message would quote a model's own bytes.
ORT_ERRORS = (
    RuntimeError,
    UnicodeDecodeError,
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class Runtime(Protocol):
    """A network that is ready to run, whoever runs it; several threads may at once.

    ``provider`` is what computes it. ``run`` answers the named outputs, and raises one of :data:`ORT_ERRORS`.
    """

    provider: str

    def run(self, outputs: Sequence[str], feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]: ...


class OnnxRuntime:
    """An onnxruntime session as :class:`Runtime`."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.provider: str = session.get_providers()[0]

    def run(self, outputs: Sequence[str], feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        answers: list[NDArray[Any]] = self._session.run(outputs, feed)
        return answers


def options_for(threads: int, *, optimised: bool = True) -> ort.SessionOptions:
    """Sequential, silent, with ``threads`` that do not spin, and bounded in what it computes while loading."""
    options = ort.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    # A pool that spins between frames takes the cores from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A hostile graph may compute gigabytes out of nothing while it is being loaded; the default is a gigabyte.
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(64 << 20))
    return options


def create(
    origin: str, content: bytes, options: ort.SessionOptions, providers: Sequence[tuple[str, dict[str, str]]]
) -> ort.InferenceSession:
    """A session over the bytes of a model; ``origin`` is named where they are none.

    Raises:
        ModelError: onnxruntime refuses them.
    """
    ort.set_default_logger_severity(SILENT)
    try:
        return ort.InferenceSession(content, options, providers=list(providers))
    except ORT_ERRORS as exc:
        raise ModelError(f"{origin} cannot be loaded as an ONNX model: {first_line(exc)}") from exc


def first_line(exc: BaseException) -> str:
    """The first line of a message that says something; OpenVINO begins with places in its own source."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    telling = (line for line in lines if not line.startswith(("Exception from ", "Check '")))
    return next(telling, lines[0] if lines else type(exc).__name__)[:300]
