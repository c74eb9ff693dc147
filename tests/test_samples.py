"""samples/: a few annotated frames of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from stream.overlay import Overlay
from stream.sinks.samples import SAMPLE_FRAMES, SamplesSink
from tests.results import boxes, result, source


def test_only_the_chosen_frames_are_written_with_their_boxes(tmp_path: Path) -> None:
    picture = np.zeros((240, 320, 3), np.uint8)
    sink = SamplesSink(tmp_path / "samples", Overlay())
    sink.open(source("cam.mp4"))
    for index in range(45):
        sink.write(result(index, boxes([[50, 60, 200, 180]]), picture=picture))
    sink.close()
    assert [path.name.rsplit("_", 1)[1] for path in sink.written] == ["10.jpg", "40.jpg"]
    assert sink.outputs == [tmp_path / "samples"]
    drawn = cv2.imread(str(sink.written[0]))
    assert drawn is not None
    assert np.asarray(drawn).any(), "boxes are drawn on the black picture"
    assert not picture.any(), "on a copy"


def test_a_frame_without_its_picture_is_passed_over(tmp_path: Path) -> None:
    sink = SamplesSink(tmp_path / "samples", Overlay())
    sink.open(source())
    shown = result(10, boxes([[50, 60, 200, 180]]), picture=np.zeros((8, 8, 3), np.uint8))
    sink.write(replace(shown, frame=replace(shown.frame, picture=None)))
    assert sink.outputs == []


def test_a_day_of_frames_gives_a_handful() -> None:
    assert sum(index < 25 * 86_400 for index in SAMPLE_FRAMES) <= 10
