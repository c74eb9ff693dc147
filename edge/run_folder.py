"""A run's folder: ``runs/<name>[N]/`` with its files, and what a resumed run may skip."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.config import OutputSettings
from stream.config import Settings, to_yaml
from stream.errors import OutputError
from stream.redaction import redact_url
from stream.sinks.base import write_failure

PREDICTIONS = "predictions.jsonl"
SUMMARY = "summary.json"
CSV = "predictions.csv"


@dataclass(slots=True)
class RunFolder:
    """Where a run writes. ``finished`` holds the former summary's entry for every source that may be skipped."""

    path: Path
    finished: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def predictions(self) -> Path:
        return self.path / PREDICTIONS

    @property
    def csv(self) -> Path:
        return self.path / CSV

    @property
    def labels(self) -> Path:
        return self.path / "labels"

    @property
    def crops(self) -> Path:
        return self.path / "crops"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def summary(self) -> Path:
        return self.path / SUMMARY

    def video(self, source_name: str, *, several: bool) -> Path:
        """``annotated.mp4``, or a file named after its source when there are several."""
        return self.path / (f"{Path(source_name).stem}_annotated.mp4" if several else "annotated.mp4")

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace summary.json. Raises SinkError, and then leaves the former one."""
        _replace(self.summary, json.dumps(summary, indent=2) + "\n")

    def write_config(self, settings: Settings) -> None:
        """Keep the settings beside what they made, without credentials. Raises SinkError."""
        _replace(self.config, redact_url(to_yaml(settings)))

    def remove_if_unused(self) -> None:
        """Take the folder away again when no frame was written into it."""
        with contextlib.suppress(OSError):
            for file in (self.predictions, self.csv):
                if file.exists() and file.stat().st_size > 0:
                    return
            for file in (self.predictions, self.csv, self.summary, self.config):
                file.unlink(missing_ok=True)
            self.path.rmdir()


def open_run_folder(output: OutputSettings, *, resume: bool) -> RunFolder:
    """Make the run's folder, or find the one to resume.

    Raises:
        OutputError: it cannot be made or written.
    """
    if resume:
        folder = _latest(output)
        if folder is not None:
            _check_writable(folder)
            return _resumed(folder)
    return RunFolder(_make(output))


def _replace(path: Path, text: str) -> None:
    """Write in one step: a killed process leaves the old file or the new one, never half of one."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as exc:
        partial.unlink(missing_ok=True)
        raise write_failure(path, exc) from exc


def _make(output: OutputSettings) -> Path:
    number = 1
    while True:
        path = output.project / (output.name if number == 1 else f"{output.name}{number}")
        try:
            path.mkdir(parents=True, exist_ok=output.exist_ok)
            _check_writable(path)
            return path
        except FileExistsError:
            if output.project.exists() and not output.project.is_dir():
                raise OutputError(f"{output.project} is a file, not a folder; choose another --project") from None
            number += 1
        except OSError as exc:
            raise OutputError(f"cannot make the folder {path}: {exc.strerror}; choose another --project") from exc


def _check_writable(path: Path) -> None:
    probe = path / f".writable-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as exc:
        raise OutputError(f"cannot write into {path}: {exc.strerror}; choose another --project") from exc


def _latest(output: OutputSettings) -> Path | None:
    """The newest folder of the run's name that holds a summary or predictions."""
    candidates = [output.project / output.name]
    number = 2
    while (path := output.project / f"{output.name}{number}").is_dir():
        candidates.append(path)
        number += 1
    begun = [path for path in candidates if (path / PREDICTIONS).exists() or (path / SUMMARY).exists()]
    return begun[-1] if begun else None


def _resumed(path: Path) -> RunFolder:
    """Read what is finished and cut away what an interrupted source left behind it."""
    folder = RunFolder(path)
    try:
        sources = json.loads(folder.summary.read_text(encoding="utf-8"))["sources"]
        folder.finished = {str(entry["location"]): entry for entry in sources if entry["state"] == "done"}
        kept_bytes = max((entry["predictions_end_byte"] for entry in folder.finished.values()), default=0)
        kept_csv = max((entry.get("csv_end_byte") or 0 for entry in folder.finished.values()), default=0)
    except FileNotFoundError:
        kept_bytes = kept_csv = 0
    except (ValueError, KeyError, TypeError, OSError) as exc:
        raise OutputError(f"cannot resume {path}: its {SUMMARY} is damaged ({exc}); start a new run") from exc
    for file, size in ((folder.predictions, kept_bytes), (folder.csv, kept_csv)):
        if file.exists() and file.stat().st_size > size:
            os.truncate(file, size)
    return folder
