"""Writing an export: as a whole or not at all, with a note of where it comes from."""

from __future__ import annotations

import json
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stream.dataset.export.plan import SPLITS, Item, Plan
from stream.dataset.sample import as_record
from stream.dataset.store import provenance_of
from stream.errors import OutputError, SinkError, UsageError
from stream.sinks.base import write_failure

PROVENANCE = "provenance.json"
SAMPLES = "samples.jsonl"


@dataclass(frozen=True, slots=True)
class Report:
    """What was exported: ``provenance`` is the content of provenance.json, ``left_out`` are the hashes of samples
    whose picture is gone or was altered."""

    folder: Path
    provenance: dict[str, Any]
    left_out: Sequence[str] = ()

    def params(self) -> dict[str, str]:
        """What a training run says of its data, as MLflow's params."""
        known = self.provenance
        split = {f"dataset_{name}": str(known["splits"][name]["pictures"]) for name in SPLITS}
        return {"dataset_digest": known["digest"], "dataset_samples": str(known["samples"]), **split}


def exported(plan: Plan, layout: str, target: Path, write: Callable[[Plan, Path], None]) -> Report:
    """Let ``write`` fill a folder, and put it at ``target`` when it is complete."""
    _check_free(target)
    partial = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
    provenance = _provenance(plan, layout)
    try:
        partial.mkdir(parents=True)
        write(plan, partial)
        write_text(partial / PROVENANCE, json.dumps(provenance, indent=2, ensure_ascii=False) + "\n")
        write_text(partial / SAMPLES, "".join(f"{_line(item)}\n" for item in plan.items))
        partial.replace(target)
    except OSError as exc:
        raise _failure(plan.folder, partial, exc) from exc
    finally:
        with suppress(OSError):
            shutil.rmtree(partial)
    return Report(target, provenance, plan.left_out)


def copy_picture(item: Item, path: Path) -> None:
    """The picture's own bytes; not a link, for who edits an export must not edit the data set. Raises OSError."""
    shutil.copyfile(item.path, path)


def write_text(path: Path, text: str) -> None:
    """Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _check_free(target: Path) -> None:
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UsageError(f"{target} is there already; name another folder, or remove it")
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"cannot write {target}: {(exc.strerror or str(exc)).lower()}; name another folder") from exc


def _failure(source: Path, partial: Path, exc: OSError) -> SinkError:
    if isinstance(exc, FileNotFoundError) and Path(str(exc.filename)).is_relative_to(source):
        return SinkError(f"the data set was pruned while it was exported ({exc.filename} is gone); export it again")
    return write_failure(partial, exc)


def _provenance(plan: Plan, layout: str) -> dict[str, Any]:
    settings = asdict(plan.settings)
    return {
        "layout": layout,
        "source": str(plan.folder),
        **provenance_of(item.sample for item in plan.items),
        "cameras": dict(Counter(item.sample.origin.camera for item in plan.items).most_common()),
        "classes": list(plan.classes),
        "splits": {split: _counts(plan.of(split)) for split in SPLITS},
        "left_out": list(plan.left_out),
        "settings": {"which": settings.pop("which"), **settings},
    }


def _counts(items: list[Item]) -> dict[str, Any]:
    labels = Counter(label.class_name for item in items for label in item.labels)
    return {"pictures": len(items), "labels": labels.total(), "by_class": dict(labels.most_common())}


def _line(item: Item) -> str:
    return json.dumps({"file": item.name, "split": item.split, **as_record(item.sample)}, ensure_ascii=False)
