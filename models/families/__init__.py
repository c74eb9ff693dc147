"""Which family of detectors a model belongs to. A new one is a file beside these and a line in the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.families import detr, end_to_end, nanodet, nanodet_table, ready, yolo, yolov5, yolox
from models.families.base import Family
from models.families.boxes import Boxes
from models.spec import ModelSpec
from stream.errors import ModelError

__all__ = ["Boxes", "Family", "fitting", "recognise"]


@dataclass(frozen=True, slots=True)
class _Row:
    layout: str
    recognise: Callable[[ModelSpec], Family | None]


_KNOWN: Mapping[str, _Row] = {
    yolo.Yolo.name: _Row(yolo.LAYOUT, yolo.recognise),
    yolov5.YoloV5.name: _Row(yolov5.LAYOUT, yolov5.recognise),
    end_to_end.EndToEnd.name: _Row(end_to_end.LAYOUT, end_to_end.recognise),
    yolox.Yolox.name: _Row(yolox.LAYOUT, yolox.recognise),
    nanodet.NanoDet.name: _Row(nanodet.LAYOUT, nanodet.recognise),
    nanodet_table.NanoDetTable.name: _Row(nanodet_table.LAYOUT, nanodet_table.recognise),
    detr.Detr.name: _Row(detr.LAYOUT, detr.recognise),
    detr.DetrTable.name: _Row(detr.TABLE_LAYOUT, detr.recognise_table),
    ready.Ready.name: _Row(ready.LAYOUT, ready.recognise),
}


def recognise(spec: ModelSpec) -> Family:
    """The family that decodes this model, found by its metadata and the layout of its outputs.

    Raises:
        ModelError: the model is made for another task, no family knows its layout, or several do.
    """
    if spec.task != "detect":
        raise ModelError(f"{spec.name} is made for the task {spec.task!r}: only detection models can be run")
    family = fitting(spec)
    if family is not None:
        return family
    known = "; ".join(f"{name}: {row.layout}" for name, row in _KNOWN.items())
    raise ModelError(f"{spec.name} has outputs of an unknown layout: {_seen(spec)}. Known are {known}")


def fitting(spec: ModelSpec) -> Family | None:
    """The one family whose layout this is, None if it is nobody's. A family that the metadata names goes first.

    Raises:
        ModelError: the layout fits several families, or one but for a contradiction.
    """
    named = _KNOWN.get(spec.family or "")
    rows = [named] if named else list(_KNOWN.values())
    families = [family for family in (row.recognise(spec) for row in rows) if family is not None]
    if len(families) > 1:
        names = " or ".join(family.name for family in families)
        raise ModelError(
            f"{spec.name} may be {names} by its outputs, {_seen(spec)}: write its class names into the file's metadata"
            " as 'names', or the right one of these as 'family'"
        )
    return families[0] if families else None


def _seen(spec: ModelSpec) -> str:
    outputs = ", ".join(str(output) for output in spec.outputs)
    return f"{outputs} with {len(spec.names)} class names" if spec.names else outputs
