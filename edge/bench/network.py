"""A network alone: how many pictures it looks at a second, and how far two of them find the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edge.clip_pictures import spread
from edge.config import DEFAULT_CONFIDENCE, DetectorSettings
from edge.loaded_model import LoadedModel
from edge.slots import SlotPlan, every_plan
from models.catalogue import find
from models.families import Boxes
from models.matching import agreement_above
from models.trust.policy import ANY_MODEL
from models.trying import boxes_of, throughput
from stream.config import build
from stream.errors import SourceError, UsageError
from stream.frame import Frame, Pixels
from stream.machine import usable_cores

TURNS, TURN_S = 3, 0.7
"""Each split has its turns between those of the others, so that a busy moment hits them all; the best turn counts."""

PICTURES = 100
"""Spread over the clip, to compare two models on."""


def splits(clip: Path, model: str, device: str = "auto") -> dict[str, float]:
    """Pictures a second for every way to share the cores among sessions, by the way's name; first one core alone.

    Only the runtime runs (with the normalisation of a float input), on one picture of the clip: nothing that uses it
    can be faster.
    """
    plans = [SlotPlan(1, 1), *(plan for plan in every_plan(usable_cores()) if plan != SlotPlan(1, 1))]
    tried = [(plan, _load(model, device, plan)) for plan in plans]
    frame = _first(clip, tried[0][1])
    pixels = _pixels(frame)
    for _, loaded in tried:
        loaded.view(frame.width, frame.height)
    best = dict.fromkeys(map(str, plans), 0.0)
    for _ in range(TURNS):
        for plan, loaded in tried:
            session = loaded.session(*pixels.shape[:2])
            seen = throughput(session, pixels, plan.workers, TURN_S)
            best[str(plan)] = max(best[str(plan)], seen.per_s)
    return best


def compare(clip: Path, reference: str, other: str, device: str = "auto", pictures: int = PICTURES) -> dict[str, Any]:
    """How far the boxes of ``other`` are those of ``reference`` in so many pictures, at the confidence of a run, as
    plain values.

    Raises:
        UsageError: they know different classes.
    """
    first, second = (_load(model, device, SlotPlan(1, usable_cores())) for model in (reference, other))
    if first.names != second.names:
        raise UsageError(f"{reference} and {other} know different classes: their boxes cannot be compared")
    pairs = list(zip(_found(clip, first, pictures), _found(clip, second, pictures), strict=True))
    seen, confidence = agreement_above(pairs, DEFAULT_CONFIDENCE)
    return {"confidence": confidence, "pictures": len(pairs)} | seen.figures()


def _load(model: str, device: str, plan: SlotPlan) -> LoadedModel:
    settings = build(DetectorSettings, {"device": device}, origin="the bench")
    return LoadedModel(find(model, ANY_MODEL), settings, plan)


def _found(clip: Path, loaded: LoadedModel, wanted: int) -> list[Boxes]:
    """What it finds, in pixels of the clip."""
    found = []
    for frame in spread(clip, wanted, loaded.view):
        pixels = _pixels(frame)
        boxes = boxes_of(loaded.session(*pixels.shape[:2]), pixels)
        if frame.letterbox is not None:
            boxes = replace(boxes, xyxy=frame.letterbox.to_source(boxes.xyxy))
        found.append(boxes)
    return found


def _first(clip: Path, loaded: LoadedModel) -> Frame:
    frame = next(spread(clip, 1, loaded.view), None)
    if frame is None:
        raise SourceError(f"{clip} holds no picture")
    return frame


def _pixels(frame: Frame) -> Pixels:
    if frame.network is None:
        raise ValueError(f"frame {frame.index} of {frame.source} was not prepared for the network")
    return frame.network
