"""A crop on its way, as it waits on disk: what is known of it and its JPEG."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode

_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class TrackKey:
    """Whose crop it is. ``life`` is drawn anew whenever a camera's tracker begins to count from the beginning, and
    ``leaps`` counts how often the number passed to something else within it, so that no answer ever reaches another
    object that got the same number."""

    camera: str
    life: str
    epoch: int
    track_id: int
    leaps: int = 0


@dataclass(frozen=True, slots=True)
class Parcel:
    """``key`` is the same for every try to send it and never given twice. ``run`` is the folder of the run it was
    seen in. ``frame_time_s`` are seconds since the epoch, ``pts_s`` those of the source; ``bbox`` is in pixels of
    the source picture of ``width`` x ``height``. ``deny`` and ``blur_others`` are the privacy it was cut out under."""

    key: str
    track: TrackKey
    run: str
    class_name: str
    class_id: int
    confidence: float
    bbox: tuple[float, float, float, float]
    width: int
    height: int
    frame: int
    pts_s: float
    frame_time_s: float
    cause: str
    model_name: str
    model_version: str
    model_sha256: str
    jpeg: bytes
    deny: tuple[str, ...] = ()
    blur_others: bool = False

    def packed(self) -> bytes:
        known = asdict(self)
        del known["jpeg"]
        text = _encode(known).encode()
        return len(text).to_bytes(_LENGTH_BYTES, "big") + text + self.jpeg


def unpacked(payload: bytes) -> Parcel:
    """What :meth:`Parcel.packed` made. Raises ValueError for anything else, as another version may have left it."""
    end = _LENGTH_BYTES + int.from_bytes(payload[:_LENGTH_BYTES], "big")
    try:
        known: dict[str, Any] = json.loads(payload[_LENGTH_BYTES:end])
        known["track"] = TrackKey(**known["track"])
        known["bbox"] = tuple(known["bbox"])
        known["deny"] = tuple(known.get("deny", ()))
        return Parcel(**known, jpeg=payload[end:])
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise ValueError(f"no parcel: {exc}") from exc
