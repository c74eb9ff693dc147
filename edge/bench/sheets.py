"""A record's sections as tables of words: what the terminal and the documentation show of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge.bench.bound import Bound

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table; every column but the first holds figures. ``notes`` go below it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()


def sheet_of(record: Record, part: str) -> Sheet:
    """The table of a part that was measured."""
    return _SHEETS[part](record)


def median(figures: Mapping[str, Any], name: str) -> float | None:
    """Of a program's turns; None where it does not tell."""
    values: Sequence[float] | None = figures.get(name)
    return statistics.median(values) if values else None


def times_as_fast(figures: Mapping[str, Any], base: Mapping[str, Any], name: str) -> float | None:
    """The median over the turns of how many times as fast as ``base`` a program was, each turn held against its own."""
    ours, theirs = figures.get(name), base.get(name)
    if not ours or not theirs:
        return None
    pairs = zip(theirs, ours, strict=True) if name == "seconds" else zip(ours, theirs, strict=True)
    ratios: list[float] = [above / below for above, below in pairs]
    return statistics.median(ratios)


def whole_fps(figures: Mapping[str, Any]) -> float | None:
    """Frames a second of the whole process."""
    frames, seconds = median(figures, "frames"), median(figures, "seconds")
    return frames / seconds if frames and seconds else None


def bound_fps(record: Record, figures: Mapping[str, Any]) -> float | None:
    """What the machine allows one of our programs; None where nobody measured its stages, with its model on its device.
    The others do not consist of these stages."""
    stages = record.get("stages", {}).get(figures["model"])
    if stages is None or not figures["ours"] or figures["device"] != record["device"]:
        return None
    bound = Bound(stages["stages_s"], stages["cores"])
    return bound.fps(recording=figures["records"], tracking=figures["tracks"])


def base_of(programs: Sequence[Mapping[str, Any]], figures: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first program that does the same: records, or does not."""
    return next(each for each in programs if each["records"] is figures["records"])


def _network(record: Record) -> Sheet:
    by_model: Mapping[str, Mapping[str, float]] = record["network"]
    plans = list(dict.fromkeys(plan for splits in by_model.values() for plan in splits))
    rows = [(model, *(_figure(splits.get(plan)) for plan in plans)) for model, splits in by_model.items()]
    title = "the network alone: pictures a second, by sessions side by side x threads of each"
    return Sheet(title, ("model", *plans), rows)


def _stages(record: Record) -> Sheet:
    by_model: Mapping[str, Mapping[str, Any]] = record["stages"]
    names = list(dict.fromkeys(stage for each in by_model.values() for stage in each["stages_s"]))
    rows = [
        (f"{name}, ms", *(_figure(each["stages_s"].get(name), 1e3, 2) for each in by_model.values())) for name in names
    ]
    rows += [
        (f"bound, {way}, fps", *(_figure(each["bound_fps"][way]) for each in by_model.values()))
        for way in ("detections only", "recording")
    ]
    return Sheet(
        "processor time a frame, each stage alone, and what all cores could make of it", ("stage", *by_model), rows
    )


def _runs(record: Record) -> Sheet:
    programs: Sequence[Mapping[str, Any]] = record["runs"]
    rows = []
    for each in programs:
        bound, fps = bound_fps(record, each), whole_fps(each)
        rows.append(
            (
                each["name"],
                _figure(median(each, "seconds")),
                _figure(fps),
                _figure(times_as_fast(each, programs[0], "seconds"), digits=2),
                *(_share(value, bound) for value in (fps, median(each, "steady_fps"))),
                _figure(_per_frame_ms(each)),
                _figure(median(each, "memory_mb"), digits=0),
            )
        )
    columns = ("program", "s", "fps", "x plain", "bound", "steady", "cpu ms", "MB")
    return Sheet(
        "whole runs, start and end included; bound: their share of it, steady: without start and end",
        columns,
        rows,
    )


def _peers(record: Record) -> Sheet:
    programs: Sequence[Mapping[str, Any]] = record["peers"]
    rows = []
    for each in programs:
        base, bound = base_of(programs, each), bound_fps(record, each)
        rows.append(
            (
                each["name"],
                *_fps_and_times(each, base, "steady_fps"),
                *_fps_and_times(each, base, "loop_fps"),
                _share(median(each, "steady_fps"), bound),
                _figure(_per_frame_ms(each)),
                _figure(median(each, "memory_mb"), digits=0),
            )
        )
    columns = ("program", "fps", "x", "loop", "x", "bound", "cpu ms", "MB")
    title = f"{record['reference']}: fps from the first frame to the last, and of the whole loop; x: ultralytics"
    return Sheet(title, columns, rows)


def _fps_and_times(figures: Mapping[str, Any], base: Mapping[str, Any], name: str) -> tuple[str, str]:
    return _figure(median(figures, name)), _figure(times_as_fast(figures, base, name), digits=2)


def _start(record: Record) -> Sheet:
    rows = [
        (each["name"], _figure(median(each, "first_s") or median(each, "seconds"), digits=2))
        for each in record["start"]
    ]
    return Sheet("start: seconds until the help is shown, until the first frame's result is on disk", ("", "s"), rows)


def _memory(record: Record) -> Sheet:
    rows = [(each["name"], _figure(median(each, "memory_mb"), digits=0)) for each in record["memory"]]
    return Sheet("one camera of 1920x1080 at 25 fps: most memory ever held", ("", "MB"), rows)


def _agreement(record: Record) -> Sheet:
    figures = record["agreement"]
    columns = ("", "F1", "boxes", "pictures", "mean IoU", "score drift", "px drift")
    names = ("boxes", "pictures", "mean_matched_iou", "mean_score_drift", "mean_box_drift_px")
    told = tuple(str(figures[name]) for name in names)
    title = f"boxes against {figures['reference']}: F1 at IoU 0.5, confidence {figures['confidence']}"
    return Sheet(title, columns, [(figures["other"], f"{figures['f1']:.3f}", *told)])


def _live(record: Record) -> Sheet:
    figures = record["live"]
    columns = ("camera", "fps", "detected", "p50", "p95", "p99", "waited p95", "halves", "gap")
    dropped: dict[str, int] = {}
    for camera in figures["cameras"]:
        for cause, count in camera["dropped"].items():
            dropped[cause] = dropped.get(cause, 0) + count
    told = ", ".join(f"{cause} {count}" for cause, count in dropped.items()) or "nothing"
    first_mb, last_mb = figures["memory_mb"]
    notes = (
        "waited: of detections, without their own inference; halves: medians of the first and of the second half",
        f"left out since the start, in all: {told}",
        f"{figures['seconds']:.0f} s: {figures['cpu_cores']:.2f} cores, {first_mb:.0f} MB at first, {last_mb:.0f} MB"
        " at last",
    )
    rows = [_camera_row(camera) for camera in figures["cameras"]]
    return Sheet("age of results at the sink, ms", columns, rows, notes)


def _camera_row(camera: Mapping[str, Any]) -> tuple[str, ...]:
    ages = [*camera["age_s"], camera["waited_s"][1]]
    halves = " > ".join(_figure(each, 1e3, 0) for each in camera["halves_s"])
    rates = (_figure(camera["fps_in"]), _figure(camera["fps_detected"]))
    return (
        camera["name"],
        *rates,
        *(_figure(age_s, 1e3, 0) for age_s in ages),
        halves,
        _figure(camera["longest_gap_s"], 1e3, 0),
    )


def _per_frame_ms(figures: Mapping[str, Any]) -> float | None:
    cpu_s, frames = median(figures, "cpu_s"), median(figures, "frames")
    return 1e3 * cpu_s / frames if cpu_s and frames else None


def _share(fps: float | None, bound: float | None) -> str:
    return _figure(fps / bound, digits=2) if fps and bound else ""


def _figure(value: float | None, times: float = 1.0, digits: int = 1) -> str:
    return "" if value is None else f"{value * times:.{digits}f}"


_SHEETS: Mapping[str, Callable[[Record], Sheet]] = {
    "peers": _peers,
    "runs": _runs,
    "network": _network,
    "stages": _stages,
    "start": _start,
    "memory": _memory,
    "agreement": _agreement,
    "live": _live,
}

PARTS = tuple(_SHEETS)
"""The sections of a record in the order that is best to read."""
