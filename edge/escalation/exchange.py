"""What goes to the cloud and comes back, and how it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from edge.escalation.results import Verdict
from stream.errors import VideoDiscoError

HEADERS_BYTES = 1024
"""What a request costs beside its body, at most."""


class Failure(Enum):
    """What a failed request says about the next one."""

    PASSING = "passing"
    """The cloud is away, or not itself: it passes."""

    SUSPICIOUS = "suspicious"
    """It may be one of the crops that the cloud fails on."""

    THROTTLED = "throttled"
    """It is there, and asks for patience."""

    REFUSED = "refused"
    """Somebody has to change something."""


class RequestFailedError(VideoDiscoError):
    """No answer; the message is a clause about the cloud that names nothing secret. ``cause`` is a word to count by."""

    def __init__(self, kind: Failure, cause: str, clause: str, retry_after_s: float | None = None) -> None:
        super().__init__(clause)
        self.kind = kind
        self.cause = cause
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Request:
    """A batch as it goes out; ``size_bytes`` counts its headers too."""

    keys: frozenset[str]
    body: bytes = field(repr=False)
    content_type: str

    @property
    def size_bytes(self) -> int:
        return len(self.body) + HEADERS_BYTES


@dataclass(frozen=True, slots=True)
class Reply:
    """What was said about crops that were asked about, by key: verdicts, and codes of errors that pass. Crops that are
    in neither were not answered. ``strangers`` are answers about others or about one twice, ``senseless`` those that
    are none."""

    verdicts: Mapping[str, Verdict]
    transient: Mapping[str, str] = field(default_factory=dict)
    strangers: int = 0
    senseless: int = 0
