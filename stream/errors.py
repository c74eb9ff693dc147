"""The errors a user meets: one tree, each leaf with its exit code.

VideoDiscoError
├── UsageError            2  a wrong option, value or configuration
├── OutputError           2  an output that cannot be written (before any work was done)
├── SourceError           3  a source that cannot be opened
│   └── NoVideoError      3  it opens, but holds no video
├── ModelError            4  a model, provider or signature that is refused
├── SinkError             5  an output that failed while it was written
└── DecodeError           5  a source that failed while it was read

Every message is one sentence that names the thing and the way out. Foreign errors (libav, onnxruntime,
the operating system) are turned into these where the foreign library is called, with ``from``.
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_NO_SOURCE = 3
EXIT_MODEL = 4
EXIT_LOSSES = 5
EXIT_SIGHUP = 129
EXIT_SIGINT = 130
EXIT_SIGTERM = 143


class VideoDiscoError(Exception):
    """Base of all errors that are reported as one sentence instead of a traceback."""

    exit_code = EXIT_BUG


class UsageError(VideoDiscoError):
    """An option, value or configuration is wrong; nothing was started."""

    exit_code = EXIT_USAGE


class OutputError(VideoDiscoError):
    """An output cannot be written; nothing was started."""

    exit_code = EXIT_USAGE


class SourceError(VideoDiscoError):
    """A source cannot be opened; it holds no resources afterwards."""

    exit_code = EXIT_NO_SOURCE


class NoVideoError(SourceError):
    """A source opens but holds no video that can be decoded."""


class ModelError(VideoDiscoError):
    """A model file, its provider or its signature is refused; nothing of it was run."""

    exit_code = EXIT_MODEL


class SinkError(VideoDiscoError):
    """An output failed while it was written; what was written before it is complete and closed."""

    exit_code = EXIT_LOSSES


class DecodeError(VideoDiscoError):
    """A source failed while it was read; the frames before it were delivered."""

    exit_code = EXIT_LOSSES
