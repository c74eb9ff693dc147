"""A run's folder: ``runs/<name>[N]/`` with its files, and what a resumed run may skip."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from edge.config import OutputSettings, RunSettings
from stream.config import Settings, fingerprint, to_yaml
from stream.errors import OutputError, SinkError, UsageError, VideoDiscoError
from stream.redaction import redact_url
from stream.sinks.base import write_failure

PREDICTIONS = "predictions.jsonl"
SUMMARY = "summary.json"
CSV = "predictions.csv"
COPY_BYTES = 1 << 20


@dataclass(slots=True, weakref_slot=True)
class RunFolder:
    """Where a run writes. ``finished`` holds the former summary's entry for every source that may be skipped, by
    location; ``settings_hash`` stands for the settings that shape the results. ``fresh``: there was no such folder."""

    path: Path
    settings_hash: str
    finished: dict[str, dict[str, Any]] = field(default_factory=dict)
    fresh: bool = True
    release: Callable[[], object] = lambda: None
    """Let other runs write here; happens by itself when this is forgotten."""

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
    def swaps(self) -> Path:
        return self.path / "swaps.jsonl"

    @property
    def summary(self) -> Path:
        return self.path / SUMMARY

    def video(self, source_name: str, *, several: bool) -> Path:
        """``annotated.mp4``, or a file named after its source when there are several."""
        return self.path / (f"{Path(source_name).stem}_annotated.mp4" if several else "annotated.mp4")

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace summary.json, keeping what a former run finished and this one has not come to.

        Raises SinkError, and then leaves the former summary.
        """
        told = {entry["location"] for entry in summary["sources"]}
        waiting = [entry for location, entry in self.finished.items() if location not in told]
        content = {**summary, "settings_hash": self.settings_hash, "sources": [*summary["sources"], *waiting]}
        _replace(self.summary, json.dumps(content, indent=2) + "\n")

    def write_config(self, settings: Settings) -> None:
        """Keep the settings beside what they made, without credentials. Raises SinkError."""
        _replace(self.config, redact_url(to_yaml(settings)))

    @contextlib.contextmanager
    def gone_if_refused(self) -> Iterator[None]:
        """Where something is refused in here, a folder that was made for it is not left behind."""
        try:
            yield
        except VideoDiscoError:
            if self.fresh:
                self.remove_if_unused()
            raise

    def remove_if_unused(self, *more: str) -> None:
        """Take the folder away again when no frame was written into it; ``more`` of its files hold nothing either."""
        with contextlib.suppress(OSError):
            for file in (self.predictions, self.csv):
                if file.exists() and file.stat().st_size > 0:
                    return
            for file in (self.predictions, self.csv, self.summary, self.config, *(self.path / name for name in more)):
                file.unlink(missing_ok=True)
            self.path.rmdir()


def open_run_folder(settings: RunSettings) -> RunFolder:
    """Make the run's folder, or find the one to resume.

    Raises:
        OutputError: it cannot be made or written.
        UsageError: the run to resume was made with settings that give other results.
    """
    settings_hash = fingerprint(settings.shaping_results())
    if settings.resume:
        path = _latest(settings.output)
        if path is not None:
            _check_writable(path)
            folder = _claimed(RunFolder(path, settings_hash, fresh=False))
            try:
                _resume(folder)
            except BaseException:
                folder.release()
                raise
            return folder
    folder = _claimed(RunFolder(_make(settings.output), settings_hash))
    _remove_results(folder.path)
    return folder


def open_lasting_folder(settings: RunSettings) -> RunFolder:
    """The folder that a service goes on writing into after every restart; nothing in it is removed.

    Raises:
        OutputError: it cannot be made or written, or another run is writing into it.
    """
    output = settings.output.model_copy(update={"exist_ok": True})
    fresh = not (output.project / output.name).exists()
    return _claimed(RunFolder(_make(output), fingerprint(settings.shaping_results()), fresh=fresh))


def _claimed(folder: RunFolder) -> RunFolder:
    """The folder for us alone while we live: two runs that write the same files would leave nothing of either.

    Raises:
        OutputError: another run writes into it.
    """
    if sys.platform == "win32":
        return folder  # a folder cannot be locked there
    import fcntl

    descriptor = os.open(folder.path, os.O_RDONLY)
    folder.release = weakref.finalize(folder, os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        folder.release()
        raise OutputError(f"another run is writing into {folder.path}; wait for it, or choose another --name") from exc
    except OSError:
        pass  # a file system without locks
    return folder


def size_of(path: Path) -> int:
    """Bytes of a file, 0 when there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


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


def _remove_results(path: Path) -> None:
    """A run that writes into an older one's folder must not append to its lines."""
    for name in (PREDICTIONS, CSV, SUMMARY):
        (path / name).unlink(missing_ok=True)


def _check_writable(path: Path) -> None:
    probe = path / f".writable-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as exc:
        raise OutputError(f"cannot write into {path}: {exc.strerror}; choose another --project") from exc


def _latest(output: OutputSettings) -> Path | None:
    """The folder of the run's name that was written last.

    Numbers do not tell: a new run takes the first that is free. More than three digits belong to another name.
    """
    numbered = re.compile(rf"{re.escape(output.name)}([2-9]|[1-9]\d{{1,2}})?", re.ASCII)
    folders = list(output.project.iterdir()) if output.project.is_dir() else []
    begun = [path for path in folders if numbered.fullmatch(path.name) and _last_written_ns(path)]
    return max(begun, key=_last_written_ns, default=None)


def _last_written_ns(path: Path) -> int:
    """When a run last wrote its predictions or summary there, 0 for never."""
    files = (path / PREDICTIONS, path / SUMMARY)
    return max((file.stat().st_mtime_ns for file in files if file.exists()), default=0)


def _resume(folder: RunFolder) -> None:
    """Take over what is finished, and cut away what unfinished sources left between and behind it."""
    damaged = f"cannot resume {folder.path}: its {SUMMARY} or predictions are damaged"
    try:
        former = _former_summary(folder)
        done = [entry for entry in former["sources"] if entry["state"] == "done"]
        _keep_finished(folder.predictions, "predictions", done)
        _keep_finished(folder.csv, "csv", done)
        folder.finished = {str(entry["location"]): entry for entry in done}
        folder.write_summary({"complete": False, "sources": []})
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise OutputError(f"{damaged} ({exc}); start a new run without --resume") from exc
    except (OSError, SinkError) as exc:
        raise OutputError(f"cannot resume {folder.path}: {exc}") from exc


def _former_summary(folder: RunFolder) -> Mapping[str, Any]:
    """What the run to resume wrote last; nothing, when it was killed in its first source."""
    if not folder.summary.exists():
        return {"sources": []}
    former: Mapping[str, Any] = json.loads(folder.summary.read_text(encoding="utf-8"))
    if former.get("settings_hash") != folder.settings_hash:
        raise UsageError(
            f"{folder.path} was made with other settings; resume it with the same ones, "
            "or start a new run without --resume"
        )
    return former


def _keep_finished(file: Path, kind: str, entries: Sequence[dict[str, Any]]) -> None:
    """Rewrite one of the shared files with the ranges of ``entries`` alone, and note where they stand now.

    Raises ValueError for ranges that the file does not have.
    """
    if not file.exists():
        if any(entry[f"{kind}_end_byte"] for entry in entries):
            raise ValueError(f"{file.name} is missing")
        return
    partial = file.with_name(file.name + ".part")
    try:
        with file.open("rb") as old, partial.open("wb") as new:
            header_bytes = new.write(old.readline()) if kind == "csv" else 0
            for entry in entries:
                begin, end = entry[f"{kind}_begin_byte"], entry[f"{kind}_end_byte"]
                entry[f"{kind}_begin_byte"] = new.tell()
                # The first part of a CSV file begins before its header.
                _copy(old, new, max(begin or 0, header_bytes), end or 0)
                entry[f"{kind}_end_byte"] = new.tell()
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _copy(old: BinaryIO, new: BinaryIO, begin: int, end: int) -> None:
    old.seek(begin)
    left = end - begin
    while left > 0:
        piece = old.read(min(left, COPY_BYTES))
        if not piece:
            raise ValueError("a file is shorter than it was")
        left -= new.write(piece)
