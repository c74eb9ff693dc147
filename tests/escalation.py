"""Pictures, results, parcels and sinks made by hand, for the tests of escalation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge.escalation.board import Board
from edge.escalation.decisions import DecisionLog
from edge.escalation.figures import EscalationFigures, Tally
from edge.escalation.parcel import Parcel, TrackKey
from edge.escalation.policy import Policy
from edge.escalation.settings import PolicySettings
from edge.escalation.sink import CropEncoding, EscalationSink
from edge.escalation.tracks import TrackWatch
from stream.errors import SinkError
from stream.frame import Pixels

STARTED_AT = 1_700_000_000.0

BOX = (100.0, 60.0, 180.0, 160.0)
"""80 px wide, well inside a picture of 320x240."""


def noise(seed: int = 0, width: int = 320, height: int = 240) -> Pixels:
    """As sharp as a picture can be, and never twice the same."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def parcel(number: int = 1, *, jpeg: bytes = b"\xff\xd8jpeg\xff\xd9", run: str = "/nowhere", **known: Any) -> Parcel:
    made: dict[str, Any] = {
        "key": f"key-{number:08d}",
        "track": TrackKey("cam1", "life", 0, number),
        "run": run,
        "class_name": "dog",
        "class_id": 16,
        "confidence": 0.5,
        "bbox": BOX,
        "width": 320,
        "height": 240,
        "frame": number,
        "pts_s": number / 10,
        "frame_time_s": STARTED_AT + number / 10,
        "cause": "within_band",
        "model_name": "nanodet-g",
        "model_version": "1.0.0",
        "model_sha256": "ab" * 32,
        "jpeg": jpeg,
    }
    return Parcel(**(made | known))


class Box:
    """A mailbox that remembers what it was given, and fails while ``full``."""

    def __init__(self) -> None:
        self.got: list[tuple[Parcel, float]] = []
        self.full = False

    @property
    def parcels(self) -> list[Parcel]:
        return [each for each, _ in self.got]

    def put(self, parcel: Parcel, value: float) -> None:
        if self.full:
            raise SinkError("the disk is full")
        self.got.append((parcel, value))


class Desk:
    """A sink with all that it works with."""

    def __init__(
        self,
        folder: Path,
        *,
        shadow: bool = False,
        luck: float = 0.99,
        board: Board | None = None,
        most_bytes: float = float("inf"),
        **policy: Any,
    ) -> None:
        self.folder = folder
        self.box = Box()
        self.board = board or Board()
        self.tally = Tally()
        settings = PolicySettings(**({"min_sharpness": 0, "min_hits": 1, "settle_s": 0.5} | policy))
        self.watch = TrackWatch(Policy(settings), crop_side_px=320, luck=lambda: luck)
        self.sink = EscalationSink(
            "cam1",
            self.watch,
            folder=folder,
            board=self.board,
            tally=self.tally,
            log=DecisionLog(folder, clock=lambda: 0.0, wall_clock=lambda: STARTED_AT),
            encoding=CropEncoding(85, most_bytes),
            mailbox=None if shadow else self.box,
            wall_clock=lambda: STARTED_AT,
        )

    @property
    def figures(self) -> EscalationFigures:
        return self.tally.snapshot(None, 0, 0)

    @property
    def decisions(self) -> list[dict[str, Any]]:
        return lines(self.folder / "decisions.jsonl")


def lines(path: Path) -> list[dict[str, Any]]:
    """Those that are whole: the last may just be being written."""
    if not path.exists():
        return []
    *whole, _ = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in whole]


Seen = Mapping[int, tuple[float, float, float, float]]
