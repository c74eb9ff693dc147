"""What the sinks that write text and crops put into their files."""

from __future__ import annotations

import csv
import errno
import json
import os
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import SinkError
from stream.frame import FrameResult, Refinement, Timings
from stream.sinks.append import AppendFile
from stream.sinks.base import Sink
from stream.sinks.crops import CropsSink
from stream.sinks.csv import COLUMNS, CsvSink
from stream.sinks.jsonl import PredictionsSink
from stream.sinks.names import safe_name
from stream.sinks.yolo import LabelsSink
from tests.results import MODEL, boxes, result, source


def written(sink: Sink, *results: FrameResult, started_at: float | None = None, name: str = "cam1") -> None:
    sink.open(source(name, location=f"/clips/{name}", started_at=started_at))
    for each in results:
        sink.write(each)
    sink.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


# predictions.jsonl


def test_a_prediction_is_exactly_the_agreed_line(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    timings = Timings(0.9, 0.0012341, 0.0023456, 0.0345678, 0.0004567, 0.8, 0.0409999)
    found = boxes(
        [[1.23456, 2, 300.005, 200.999], [5, 6, 7, 8]],
        names=["person", "dog"],
        confidence=[0.912345, 0.5],
        track_ids=[7, -1],
    )
    refined = {7: Refinement("cyclist", 0.87654321, "lite0"), 9: Refinement("cat", 0.5, "lite0")}
    written(
        PredictionsSink(path),
        result(120, found, pts=61440, timings=timings, dropped_before=3, refined=refined),
        started_at=1_700_000_000.25,
    )
    assert path.read_text().count("\n") == 1
    assert lines(path) == [
        {
            "source": "cam1",
            "frame": 120,
            "pts_s": 4.8,
            "time": "2023-11-14T22:13:25.050Z",
            "width": 320,
            "height": 240,
            "model": {"name": MODEL.name, "version": MODEL.version, "sha256": MODEL.sha256},
            "detections": [
                {
                    "class": "person",
                    "class_id": 6,
                    "confidence": 0.9123,
                    "bbox": [1.23, 2.0, 300.01, 201.0],
                    "track_id": 7,
                    "refined": {"label": "cyclist", "confidence": 0.8765, "model": "lite0"},
                },
                {"class": "dog", "class_id": 3, "confidence": 0.5, "bbox": [5.0, 6.0, 7.0, 8.0]},
            ],
            "timings_ms": {
                "queue": 1.234,
                "preprocess": 2.346,
                "inference": 34.568,
                "postprocess": 0.457,
                "total": 41.0,
            },
            "dropped_before": 3,
        }
    ]


def test_an_unknown_start_is_null_and_carried_lines_say_so(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    written(PredictionsSink(path), result(0), result(1, carried=True))
    seen, carried = lines(path)
    assert seen["time"] is None
    assert "carried" not in seen
    assert carried["carried"] is True


def test_times_are_exact_and_letters_stay_letters(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    found = boxes([[0, 0, 9, 9]], names=["собака"])
    written(PredictionsSink(path), result(1, found, pts=1001, time_base=Fraction(1, 30000), name="двор"))
    assert lines(path)[0]["pts_s"] == 1001 / 30000
    assert "собака" in path.read_text(encoding="utf-8")


@given(st.floats(min_value=0, max_value=4e9))
def test_wall_clock_times_are_rounded_to_milliseconds(tmp_path_factory: pytest.TempPathFactory, start: float) -> None:
    path = tmp_path_factory.mktemp("time") / "predictions.jsonl"
    written(PredictionsSink(path), result(0), started_at=start)
    told = lines(path)[0]["time"]
    assert told.endswith("Z")
    assert abs(datetime.fromisoformat(told).timestamp() - start) <= 0.000_51


def test_boxes_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    found = boxes([[0, 0, 1, 1], [5, 5, 6, 6]])
    found.xyxy[0, 2] = np.nan
    written(PredictionsSink(tmp_path / "p.jsonl"), result(0, found))
    assert [each["bbox"] for each in lines(tmp_path / "p.jsonl")[0]["detections"]] == [[5.0, 5.0, 6.0, 6.0]]


def test_several_sources_share_the_file(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    sinks = {name: PredictionsSink(path) for name in ("a", "b")}
    for name, sink in sinks.items():
        sink.open(source(name))
    for index in range(200):
        for name, sink in sinks.items():
            sink.write(result(index, boxes([[0, 0, 9, 9]] * 40), name=name))
    for sink in sinks.values():
        sink.close()
    for name in sinks:
        assert [line["frame"] for line in lines(path) if line["source"] == name] == list(range(200))


def test_lines_reach_the_disk_within_a_second_and_the_offset_counts_them(tmp_path: Path) -> None:
    path, clock = tmp_path / "predictions.jsonl", Clock()
    sink = PredictionsSink(path, clock)
    sink.open(source())
    sink.write(result(0))
    assert path.stat().st_size == sink.offset_bytes == 0
    clock.now_s += 1.0
    sink.write(result(1))
    assert len(lines(path)) == 2
    assert path.stat().st_size == sink.offset_bytes
    offset = sink.offset_bytes
    sink.write(result(2))
    sink.close()
    os.truncate(path, offset)
    assert [line["frame"] for line in lines(path)] == [0, 1]


def test_crowded_frames_are_not_piled_up(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "a.txt", Clock())
    file.open()
    file.append("x" * (1 << 20) + "\n")
    assert file.offset_bytes == (1 << 20) + 1
    file.close()


def test_a_resumed_run_appends(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    written(PredictionsSink(path), result(0))
    written(PredictionsSink(path), result(1))
    assert [line["frame"] for line in lines(path)] == [0, 1]


def test_a_line_torn_by_a_power_cut_does_not_take_the_next_one_with_it(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(b'{"frame":1}\n{"fra')
    for index in (2, 3):
        written(PredictionsSink(path), result(index))
    first, torn, *rest = path.read_text().splitlines()
    assert (first, torn) == ('{"frame":1}', '{"fra')
    assert [json.loads(line)["frame"] for line in rest] == [2, 3]


def test_a_line_torn_by_a_full_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "predictions.jsonl"
    file = AppendFile(path, Clock())
    file.open()
    file.append("first\n")
    file.append("second\n")
    write, room = os.write, [9]

    def write_until_full(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        count = write(descriptor, data[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr(os, "write", write_until_full)
    with pytest.raises(SinkError, match=r"predictions.jsonl: no space left on device; free some space"):
        file.flush()
    file.close()
    assert path.read_text() == "first\n"


# predictions.csv


def test_csv_has_supervisions_columns_and_ours(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    found = boxes([[1.234, 2, 3, 4], [5, 6, 7, 8]], names=["a,b", "dog"], track_ids=[3, -1])
    written(CsvSink(path), result(0), result(2, found), result(3, found, carried=True))
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert tuple(header) == COLUMNS
    assert header[:7] == ["x_min", "y_min", "x_max", "y_max", "class_id", "confidence", "tracker_id"]
    assert rows[0] == ["1.23", "2.0", "3.0", "4.0", "3", "0.5", "3", "a,b", "cam1", "2", "0.08", "0"]
    assert rows[1] == ["5.0", "6.0", "7.0", "8.0", "3", "0.5", "", "dog", "cam1", "2", "0.08", "0"]
    assert [row[-1] for row in rows] == ["0", "0", "1", "1"]


def test_csv_of_several_sources_has_one_header(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    for name in ("a", "b"):
        written(CsvSink(path), result(0, boxes([[0, 0, 1, 1]]), name=name), name=name)
    assert [line.split(",")[8] for line in path.read_text().splitlines()] == ["source", "a", "b"]


def test_a_csv_file_that_was_empty_gets_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a disk that was full when it was begun."""
    path = tmp_path / "predictions.csv"
    sink = CsvSink(path)
    with monkeypatch.context() as full, pytest.raises(SinkError, match="no space left"):
        full.setattr(os, "write", refuse_for_want_of_space)
        sink.open(source())
    sink.close()
    assert path.read_text() == ""
    written(sink, result(0, boxes([[0, 0, 1, 1]])))
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["x_min", "0.0"]


def refuse_for_want_of_space(_descriptor: int, _data: bytes) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


# labels/


def test_labels_are_normalised_rows(tmp_path: Path) -> None:
    found = boxes([[80, 60, 240, 180], [-10, 0, 330, 240]], names=["dog", "cat "], track_ids=[5, -1])
    written(LabelsSink(tmp_path / "labels"), result(7, found), name="walk.mp4")
    assert (tmp_path / "labels" / "walk_7.txt").read_text() == "3 0.5 0.5 0.5 0.5 5\n4 0.5 0.5 1 1\n"


def test_labels_with_confidence(tmp_path: Path) -> None:
    found = boxes([[80, 60, 240, 180]], confidence=[0.87654], track_ids=[5])
    written(LabelsSink(tmp_path, save_conf=True), result(7, found))
    assert (tmp_path / "cam1_7.txt").read_text() == "6 0.5 0.5 0.5 0.5 0.8765 5\n"


def test_labels_only_for_frames_with_detected_boxes(tmp_path: Path) -> None:
    found = boxes([[80, 60, 240, 180]])
    written(LabelsSink(tmp_path), result(0), result(1, found), result(2, found, carried=True))
    assert [path.name for path in tmp_path.iterdir()] == ["cam1_1.txt"]


# crops/


def crop_size(path: Path) -> tuple[int, int]:
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture.shape[1], picture.shape[0]


def test_crops_are_sorted_by_class_and_named_by_track(tmp_path: Path) -> None:
    found = boxes([[10, 10, 50, 90], [0, 0, 20, 10]], names=["person", "dog"], track_ids=[0, -1])
    written(CropsSink(tmp_path), result(12, found), name="walk.mp4")
    assert crop_size(tmp_path / "person" / "walk_12_0.jpg") == (40, 80)
    assert crop_size(tmp_path / "dog" / "walk_12_n1.jpg") == (20, 10)


def test_crops_are_clipped_and_empty_ones_left_out(tmp_path: Path) -> None:
    found = boxes([[-50, -50, 10.2, 10.9], [400, 10, 500, 20], [310, 230, 999, 999], [30, 30, 30, 30], [90, 9, 80, 5]])
    written(CropsSink(tmp_path), result(0, found))
    assert {path.name: crop_size(path) for path in (tmp_path / "person").iterdir()} == {
        "cam1_0_n0.jpg": (11, 11),
        "cam1_0_n2.jpg": (10, 10),
    }


def test_carried_boxes_are_not_cropped(tmp_path: Path) -> None:
    written(CropsSink(tmp_path / "crops"), result(0, boxes([[0, 0, 9, 9]]), carried=True))
    assert list((tmp_path / "crops").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("person", "person"),
        ("cell phone", "cell phone"),
        ("../../etc", "_etc"),
        ("a/b\\c:d", "a_b_c_d"),
        ("..", "_"),
        ("", "_"),
        ("рысь", "рысь"),
        ("犬" * 100, "犬" * 40),
    ],
)
def test_class_names_become_safe_folders(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@given(st.text())
def test_any_name_is_one_short_component(name: str) -> None:
    safe = safe_name(name)
    assert 1 <= len(safe.encode()) <= 120
    assert not set('/\\.:*?"<>|\0\n') & set(safe)
    assert safe == safe.strip()
