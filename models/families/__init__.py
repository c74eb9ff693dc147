"""Which family of detectors a model belongs to. A new one is a file beside these and a line in the table."""

from __future__ import annotations

from collections.abc import Callable

from models.families import nanodet, yolo
from models.families.base import Boxes, Family
from models.spec import ModelSpec
from stream.errors import ModelError

__all__ = ["Boxes", "Family", "recognise"]

_KNOWN: tuple[tuple[str, Callable[[ModelSpec], Family | None]], ...] = (
    (nanodet.LAYOUT, nanodet.recognise),
    (yolo.LAYOUT, yolo.recognise),
)


def recognise(spec: ModelSpec) -> Family:
    """The family that decodes this model, found by its metadata and the layout of its outputs.

    Raises:
        ModelError: the model is made for another task, or no family knows its layout.
    """
    if spec.task != "detect":
        raise ModelError(f"{spec.name} is made for the task {spec.task!r}: only detection models can be run")
    for _, recognise_family in _KNOWN:
        family = recognise_family(spec)
        if family is not None:
            return family
    seen = ", ".join(str(output) for output in spec.outputs)
    known = "; ".join(layout for layout, _ in _KNOWN)
    classes = f" with {len(spec.names)} class names" if spec.names else ""
    raise ModelError(f"{spec.name} has outputs of an unknown layout: {seen}{classes}. Known are {known}")
