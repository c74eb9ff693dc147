"""Files that a killed process left: cut to what is whole, and looked at for what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import av
from av.container import InputContainer

from stream.errors import SinkError
from stream.sinks.base import write_failure

# Boxes that stand for themselves, and the pair that only counts together.
_FRAGMENT = (b"moof", b"mdat")


@dataclass(frozen=True, slots=True)
class Found:
    """What a recording's file says of itself; ``started_at`` and ``camera`` are None where it does not."""

    duration_s: float
    started_at: float | None
    camera: str | None


def trim(path: Path) -> None:
    """Cut a torn fragment off the end of an MP4; its players would stop there with an error.

    Raises SinkError where the file cannot be cut.
    """
    if path.suffix != ".mp4":
        return
    try:
        size_bytes = path.stat().st_size
        whole_bytes = _whole_bytes(path, size_bytes)
        if 0 < whole_bytes < size_bytes:
            with path.open("r+b") as file:
                file.truncate(whole_bytes)
    except OSError as error:
        raise write_failure(path, error) from error


def look(path: Path) -> Found | None:
    """What the file holds, None where nothing in it can be played. Raises SinkError where it cannot be read."""
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            duration_s = _duration_s(container)
            tags = {key.lower(): value for key, value in container.metadata.items()}
    except (OSError, MemoryError) as error:
        raise SinkError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    except (av.FFmpegError, IndexError):  # libav has many words for bytes that make no sense
        return None
    return Found(duration_s, _moment(tags.get("date")), tags.get("title")) if duration_s > 0 else None


def _duration_s(container: InputContainer) -> float:
    stream = container.streams.video[0]
    if container.duration:
        return container.duration / av.time_base
    last_s = 0.0  # a Matroska file that was not closed
    with suppress(av.error.InvalidDataError):  # what lies before the damage can be played
        for packet in container.demux(stream):
            if packet.pts is not None:
                last_s = max(last_s, float((packet.pts + (packet.duration or 1)) * packet.time_base))
    return last_s


def _moment(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


def _whole_bytes(path: Path, size_bytes: int) -> int:
    """Where the last whole box ends, a fragment's head and body counting as one."""
    whole = 0
    for kind, end in _boxes(path, size_bytes):
        if end > size_bytes:
            break
        if kind != _FRAGMENT[0]:
            whole = end
    return whole


def _boxes(path: Path, size_bytes: int) -> Iterator[tuple[bytes, int]]:
    """The top-level boxes of an MP4 and where they end."""
    at = 0
    with path.open("rb") as file:
        while at + 8 <= size_bytes:
            file.seek(at)
            head = file.read(16)
            size = int.from_bytes(head[:4])
            if size == 1:
                size = int.from_bytes(head[8:16])
            if size < 8:
                return
            at += size
            yield head[4:8], at
