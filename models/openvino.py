"""OpenVINO's CPU plugin as a second runtime behind :class:`models.session.Session`, from the extra ``openvino``.

It runs a float network in bfloat16 where the processor has it, by its own choice, which is about twice as fast.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models.catalogue import ModelFile, content_of
from models.providers import OPENVINO
from models.runtime import first_line
from stream.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REDUCED = {"bf16": "bfloat16", "f16": "float16"}


def is_installed() -> bool:
    """Whether the package is there; importing it takes most of half a second."""
    return importlib.util.find_spec("openvino") is not None


class OpenVinoRuntime:
    """A compiled network, as :class:`models.runtime.Runtime`: each thread has an inference request of its own."""

    def __init__(self, compiled: Any, precision: str) -> None:
        self._compiled = compiled
        self._places = {name: place for place, port in enumerate(compiled.outputs) for name in port.get_names()}
        self._own = threading.local()
        self.provider = f"{OPENVINO} {precision}".rstrip()

    def run(self, outputs: Sequence[str], feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The named outputs, the caller's own. Raises RuntimeError."""
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._compiled.create_infer_request()
        results = request.infer(dict(feed), share_inputs=True)
        return [results[self._places[name]] for name in outputs]


def open_runtime(
    model: ModelFile, shapes: Mapping[str, Sequence[object]], *, threads: int, workers: int
) -> OpenVinoRuntime:
    """Compile a model for ``workers`` inferences at a time on ``threads`` cores each.

    ``shapes`` are the sizes of each input by name; what is no number there stays open.

    Raises:
        ModelError: the file changed since it was found, or holds what OpenVINO does not know.
    """
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY" if workers == 1 else "THROUGHPUT",
        "NUM_STREAMS": workers,
        "INFERENCE_NUM_THREADS": workers * threads,
        # Pinned threads would all sit on the first cores of a machine that is shared with others.
        "ENABLE_CPU_PINNING": False,
    }
    content = content_of(model)
    try:
        core = openvino.Core()
        network = core.read_model(content)
        network.reshape({name: [_size(size) for size in shape] for name, shape in shapes.items()})
        compiled = core.compile_model(network, "CPU", settings)
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    except RuntimeError as exc:
        raise ModelError(f"{model.path} cannot be run by OpenVINO: {_reason(exc)}") from exc
    return OpenVinoRuntime(compiled, _REDUCED.get(precision, ""))


def _reason(exc: RuntimeError) -> str:
    """What it could not translate comes last in a long report."""
    last = str(exc).strip().rpartition("\n")[2]
    return last.removeprefix("-- ")[:300] if last.startswith("-- ") else first_line(exc)


def _size(size: object) -> int:
    return size if isinstance(size, int) and size > 0 else -1
