"""A data set in the layouts that trainers read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stream.dataset.export import coco, folders, yolo
from stream.dataset.export.plan import ExportSettings, Plan, make_plan
from stream.dataset.export.writing import Report, exported
from stream.dataset.store import Store

LAYOUTS: dict[str, Callable[[Plan, Path], None]] = {"coco": coco.write, "yolo": yolo.write, "folders": folders.write}


def export(store: Store, layout: str, target: Path, settings: ExportSettings) -> Report:
    """Write the data set into the new folder ``target`` in one of :data:`LAYOUTS`; the whole of it or nothing.

    Raises UsageError when there is nothing to export or something in the way, SinkError when it cannot be written.
    """
    return exported(make_plan(store, settings), layout, target, LAYOUTS[layout])
