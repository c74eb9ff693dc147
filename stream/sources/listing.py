"""From what a user names on the command line to the files it means."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stream.errors import SourceError
from stream.sinks.names import safe_name

VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".asf", ".avi", ".dav", ".flv", ".gif", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg"),
        *(".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm"),
        *(".wmv", ".y4m"),
    }
)
"""Which files of a folder are taken for videos; a file that is named itself is opened whatever it is called."""

LIST_SUFFIXES = frozenset({".txt", ".list", ".streams"})


@dataclass(frozen=True, slots=True)
class Listed:
    """A source to open, under a name of its own within the run."""

    name: str
    path: Path


def expand(arguments: Sequence[str]) -> list[Listed]:
    """All files that ``arguments`` mean, in the order given; each file, folder, glob or list file.

    Raises:
        SourceError: a pattern or folder that matches nothing, a list, folder or path that cannot be read.
    """
    paths = [path for argument in arguments for path in _readable_paths(argument)]
    unique = list(dict.fromkeys(path.absolute() for path in paths))
    return [Listed(name, path) for name, path in zip(_names(unique), unique, strict=True)]


def _readable_paths(argument: str) -> list[Path]:
    try:
        return _paths(argument)
    except OSError as exc:
        reason = (exc.strerror or str(exc)).lower()
        raise SourceError(f"{argument} cannot be read: {reason}; name another path") from exc


def _paths(argument: str) -> list[Path]:
    if "://" in argument or (argument.isdecimal() and not Path(argument).exists()):
        raise SourceError(f"{_kind(argument)} is no recorded file; run cameras apart from files")
    if not argument.strip():
        raise SourceError("a source is empty; was a variable on the command line not set?")
    if "\0" in argument:
        raise SourceError(f"{argument!r} is no path: it holds a zero byte; was it read from a binary file?")
    # Path.expanduser raises for users it does not know; this leaves them as they are.
    path = Path(os.path.expanduser(argument))  # noqa: PTH111 # see above
    if path.is_dir():
        return _videos_in(path)
    if path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
        return _listed_in(path)
    if not path.exists() and glob.has_magic(argument):
        matches = sorted(match for match in map(Path, glob.glob(str(path), recursive=True)) if match.is_file())
        if not matches:
            raise SourceError(f"no file matches {argument}")
        return matches
    return [path]


def _kind(argument: str) -> str:
    return "a camera's address" if "://" in argument else f"webcam {argument}"


def _videos_in(folder: Path) -> list[Path]:
    videos = sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
    if not videos:
        raise SourceError(f"the folder {folder} holds no video file; name a file, or a folder that holds some")
    return videos


def _listed_in(path: Path) -> list[Path]:
    return [found for entry in entries_of(path) for found in _entry(path, entry)]


def entries_of(path: Path) -> list[str]:
    """What a list file names, one a line; empty lines and those that begin with ``#`` are left out.

    Raises SourceError when it cannot be read or names nothing.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise SourceError(f"the list {path} cannot be read as text: {exc}") from exc
    entries = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not entries:
        raise SourceError(f"the list {path} names no source; write one a line")
    return entries


def _entry(path: Path, entry: str) -> list[Path]:
    if "://" in entry:
        return _paths(entry)
    beside = path.parent / entry
    if beside.suffix.lower() in LIST_SUFFIXES and beside.is_file():
        raise SourceError(f"the list {path} names another list, {entry}; write the videos themselves, one a line")
    return _paths(str(beside))


def _names(paths: Sequence[Path]) -> list[str]:
    """File names, with their folder before them where two files are called the same, and a number as a last resort.

    No two begin alike up to their suffix, for that is what outputs are named after.
    """
    counts = Counter(path.name for path in paths)
    names: dict[str, str] = {}
    for path in paths:
        name = path.name if counts[path.name] == 1 else f"{path.parent.name}_{path.name}"
        number = 2
        while _output_stem(name) in names:
            name, number = f"{path.stem}_{number}{path.suffix}", number + 1
        names[_output_stem(name)] = name
    return list(names.values())


def _output_stem(name: str) -> str:
    """What the outputs of a source called ``name`` begin with, as a file system blind to case sees it."""
    return safe_name(Path(name).stem).casefold()
