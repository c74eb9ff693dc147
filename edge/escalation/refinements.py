"""refinements.jsonl: what the cloud said of the objects of a run, in the run's own folder, whenever it comes."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from edge.escalation.results import Answer
from edge.events.event import iso_time
from stream.errors import SinkError
from stream.sinks.append import AppendFile
from stream.sinks.rotation import Rotation

REFINEMENTS = "refinements.jsonl"

REFINEMENTS_ROTATION = Rotation(max_bytes=64_000_000, keep=8)

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def write_refinements(answers: Sequence[Answer], late: Collection[str]) -> None:
    """Append a line for each answer to the file of its run; ``late`` are the keys of those whose track was over.

    Runs whose folder is gone get none. Raises SinkError when a file cannot be written.
    """
    for run, of_run in _by_run(answers).items():
        file = AppendFile(run / REFINEMENTS, time.monotonic, REFINEMENTS_ROTATION)
        file.open()
        with closing(file):
            for each in of_run:
                file.append(_encode(refinement_line(each, late=each.key in late)) + "\n")


def write_missing_refinements(answers: Sequence[Answer]) -> None:
    """The same for answers of which nobody knows whether their line was written before a crash."""
    for run, of_run in _by_run(answers).items():
        there = _keys_in(run / REFINEMENTS)
        missing = [each for each in of_run if each.key not in there]
        write_refinements(missing, {each.key for each in missing})


def refinement_line(answer: Answer, *, late: bool) -> dict[str, Any]:
    """The JSON object of a line; ``late``: the track was over, no frame shows the label."""
    said, track = answer.verdict, answer.track
    line: dict[str, Any] = {
        "time": iso_time(answer.answered_s),
        "key": answer.key,
        "source": track.camera,
        "epoch": track.epoch,
        "track_id": track.track_id,
        "frame": answer.frame,
        "pts_s": round(answer.pts_s, 6),
        "frame_time": iso_time(answer.frame_time_s),
        "class": answer.class_name,
        "confidence": round(answer.confidence, 4),
        "bbox": [round(value, 2) for value in answer.bbox],
        "late": late,
    }
    if said.error:
        return line | {"error": said.error}
    line["refined"] = {"label": said.label, "confidence": round(said.confidence, 4), "model": said.model}
    line["model_version"] = said.model_version
    line["top"] = [[label, round(confidence, 4)] for label, confidence in said.top]
    line["agreement"] = None if said.agreement is None else round(said.agreement, 4)
    return line


def _by_run(answers: Sequence[Answer]) -> dict[Path, list[Answer]]:
    runs: defaultdict[Path, list[Answer]] = defaultdict(list)
    for each in answers:
        if Path(each.run).is_dir():
            runs[Path(each.run)].append(each)
    return runs


def _keys_in(path: Path) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return set()
    except (OSError, UnicodeDecodeError) as exc:
        raise SinkError(f"cannot read {path}: {exc}") from exc
    keys = set()
    for line in lines:
        try:
            keys.add(str(json.loads(line)["key"]))
        except (ValueError, KeyError, TypeError):
            continue  # a line that was torn by a crash
    return keys
