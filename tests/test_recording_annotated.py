"""Recordings of a camera's pictures with what was found in them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from stream.frame import FrameResult
from stream.overlay import Overlay
from stream.recording.annotated import AnnotatedSink
from tests.clips import decode, frame_number
from tests.recorders import Recorder
from tests.recordings import files
from tests.results import boxes, grey, result, source


def annotated(folder: Path, results: list[FrameResult], *, segment_s: float = 60) -> Recorder:
    one = Recorder(folder, what="annotated", segment_s=segment_s)
    sink = AnnotatedSink(one.recorder, Overlay())
    sink.open(source())
    for each in results:
        sink.write(each)
    sink.close()
    one.close()
    return one


def test_annotated_pictures_are_recorded_exactly(tmp_path: Path) -> None:
    annotated(tmp_path, [result(n, boxes([[5, 5, 40, 40]])) for n in range(60)], segment_s=1)
    made = files(tmp_path)
    assert [path.name for path in made] == [f"12-00-0{n}Z_annotated.mp4" for n in range(3)]
    seen = [(Fraction(path.name[6:8]) + time, frame_number(picture)) for path in made for time, picture in decode(path)]
    assert seen == [(Fraction(n, 25), n) for n in range(60)]
    assert np.ptp(decode(made[0])[3][1].astype(int), axis=2).max() > 50, "colour, where all was grey"


def test_a_reconnection_and_another_size_begin_new_video(tmp_path: Path) -> None:
    results = [result(n) for n in range(10)]
    results += [result(n, picture=grey(n, 101, 75)) for n in range(10, 20)]
    results += [
        replace(each, frame=replace(each.frame, epoch=1))
        for each in (result(n, picture=grey(n, 101, 75)) for n in range(20, 30))
    ]
    annotated(tmp_path, results)
    made = sorted((decode(path) for path in files(tmp_path)), key=lambda pictures: frame_number(pictures[0][1]))
    assert [[frame_number(picture) for _, picture in each] for each in made] == [
        list(range(10)),
        list(range(10, 20)),
        list(range(20, 30)),
    ]
    assert [each[0][1].shape for each in made] == [(240, 320, 3), (76, 102, 3), (76, 102, 3)]


def test_pictures_are_wanted_only_where_they_can_be_recorded(tmp_path: Path) -> None:
    wanted = {}
    for mode, pre_roll_s in (("continuous", 5), ("events", 5), ("events", 0), ("off", 5)):
        one = Recorder(tmp_path / mode, what="annotated", mode=mode, pre_roll_s=pre_roll_s)
        sink = AnnotatedSink(one.recorder, Overlay())
        idle = sink.wants_picture
        one.recorder.hold("e1", 0.0)
        held = sink.wants_picture
        one.recorder.start_manual()
        wanted[mode, pre_roll_s] = (idle, held, sink.wants_picture)
        assert sink.outputs == [tmp_path / mode / "cam1"]
        one.close()
    assert wanted == {
        ("continuous", 5): (True, True, True),
        ("events", 5): (True, True, True),
        ("events", 0): (False, True, True),
        ("off", 5): (False, False, True),
    }


def test_a_frame_without_its_picture_is_passed_over(tmp_path: Path) -> None:
    bare = result(0)
    annotated(tmp_path, [replace(bare, frame=replace(bare.frame, picture=None))])
    assert files(tmp_path) == []
