"""supervision, and how it and trackers are imported: without the libraries that they import and hardly anybody uses.

Both import all of themselves at once. Three quarters of the time that takes, and 40 MB, are scipy's, of which tracking
needs one function that stands alone, and requests', which would fetch models and samples. What is asked of those
libraries later than that is imported then.

Everybody imports supervision from here: ``from stream.vision import sv``, within the function that needs it, for it
still takes a quarter of a second.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

_CALLED_LATER = {
    "scipy.interpolate": ("splev", "splprep"),
    "scipy.optimize": ("linear_sum_assignment",),
    "scipy.spatial": ("cKDTree",),
    "requests": (),
}
"""The libraries, and what of them is imported by its name to be called some day. Any other name brings the library."""


def lean_import(name: str) -> ModuleType:
    """supervision or trackers. No other thread may import the libraries above meanwhile."""
    with contextlib.suppress(ImportError), _stand_ins():
        return importlib.import_module(name)
    return importlib.import_module(name)  # a version that imports more of the libraries than we know


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    laid = {name: _StandIn(name) for name in _CALLED_LATER if name not in sys.modules}
    sys.modules.update(laid)
    try:
        yield
    finally:
        for stand_in in laid.values():
            stand_in.remove()


class _StandIn(ModuleType):
    """In a library's place until somebody needs it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # the import system asks for what need not be there
        if name == "linear_sum_assignment":
            return _assignment()
        if name in _CALLED_LATER[self.__name__]:
            return lambda *args, **kwargs: getattr(self._library(), name)(*args, **kwargs)
        return getattr(self._library(), name)

    def remove(self) -> None:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

    def _library(self) -> ModuleType:
        self.remove()
        return importlib.import_module(self.__name__)


def _assignment() -> Callable[..., Any]:
    """scipy's solver of the assignment problem out of its own extension module, else with all of scipy.optimize."""
    scipy = find_spec("scipy")
    folders = [str(Path(folder, "optimize")) for folder in (scipy.submodule_search_locations if scipy else None) or ()]
    spec = PathFinder.find_spec("_lsap", folders)
    if spec is None or spec.loader is None:
        return importlib.import_module("scipy.optimize").linear_sum_assignment  # type: ignore[no-any-return]  # untyped
    extension = module_from_spec(spec)
    spec.loader.exec_module(extension)
    return extension.linear_sum_assignment  # type: ignore[no-any-return]  # untyped as well


if TYPE_CHECKING:
    import supervision as sv
else:
    sv = lean_import("supervision")

__all__ = ["lean_import", "sv"]
