"""What every sink promises, whatever it writes."""

from __future__ import annotations

import errno
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from stream.errors import SinkError
from stream.frame import FrameResult
from stream.overlay import Overlay
from stream.sinks.base import Sink, write_failure
from stream.sinks.crops import CropsSink
from stream.sinks.csv import CsvSink
from stream.sinks.jsonl import PredictionsSink
from stream.sinks.recorder import VideoSink
from stream.sinks.yolo import LabelsSink
from tests.clips import decode
from tests.results import boxes, result, source

Maker = Callable[[Path], Sink]

MAKERS: dict[str, Maker] = {
    "predictions": lambda folder: PredictionsSink(folder / "predictions.jsonl"),
    "csv": lambda folder: CsvSink(folder / "predictions.csv"),
    "labels": lambda folder: LabelsSink(folder / "labels", save_conf=True),
    "crops": lambda folder: CropsSink(folder / "crops"),
    "recorder": lambda folder: VideoSink(folder / "annotated.mp4", Overlay()),
}
over_all_sinks = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def busy(index: int) -> FrameResult:
    """A result that gives every sink something to write, and a picture that does not compress."""
    picture = np.random.default_rng(index).integers(0, 256, (240, 320, 3), np.uint8)
    found = boxes([[5, 5, 300, 200], [50, 50, 90, 90]], names=["person", "dog"], track_ids=[1, -1])
    return result(index, found, picture=picture)


def size_bytes(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*.*")
    return sum(file.stat().st_size for file in files)


@over_all_sinks
def test_outputs_are_what_was_made(make: Maker, tmp_path: Path) -> None:
    folder = tmp_path / "новая папка" / "run'1"
    sink = make(folder)
    sink.open(source("двор \U0001f6b2/1"))
    for index in range(5):
        sink.write(busy(index))
    sink.close()
    assert set(sink.outputs) == set(folder.iterdir())
    assert all(size_bytes(path) > 0 for path in sink.outputs)


@over_all_sinks
def test_zero_frames_are_no_failure(make: Maker, tmp_path: Path) -> None:
    sink = make(tmp_path)
    sink.open(source())
    sink.close()
    assert sum(size_bytes(path) for path in sink.outputs if path.exists()) <= 200  # at most a header


@over_all_sinks
def test_empty_frames_are_no_failure(make: Maker, tmp_path: Path) -> None:
    sink = make(tmp_path)
    sink.open(source())
    sink.write(result(0))
    sink.write(result(1, boxes()))
    sink.close()


@over_all_sinks
def test_nothing_is_touched_before_open(make: Maker, tmp_path: Path) -> None:
    make(tmp_path)
    assert list(tmp_path.iterdir()) == []


@over_all_sinks
def test_results_are_never_written_into(make: Maker, tmp_path: Path) -> None:
    sink, each = make(tmp_path), busy(0)
    assert each.frame.picture is not None
    each.frame.picture.setflags(write=False)
    each.detections.xyxy.setflags(write=False)
    sink.open(source())
    sink.write(each)
    sink.close()


@over_all_sinks
def test_a_picture_is_wanted_only_by_those_that_use_it(make: Maker, tmp_path: Path) -> None:
    without = busy(0)
    without = replace(without, frame=replace(without.frame, picture=None))
    sink = make(tmp_path)
    sink.open(source())
    sink.write(without)
    sink.close()
    wrote = any(size_bytes(path) > 200 or sink.name == "labels" for path in sink.outputs if path.exists())
    assert wrote != sink.wants_picture or sink.name == "csv"


@over_all_sinks
def test_an_output_that_cannot_be_made_is_one_sentence_and_close_is_safe(make: Maker, tmp_path: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("a file where the folder should be")
    sink = make(occupied)
    with pytest.raises(SinkError, match=r"^cannot write .*occupied.*; choose another folder with --project$"):
        sink.open(source())
    sink.close()
    assert occupied.read_text() == "a file where the folder should be"


@over_all_sinks
def test_close_without_open_is_safe(make: Maker, tmp_path: Path) -> None:
    make(tmp_path).close()


@over_all_sinks
def test_it_has_the_shape_of_a_sink(make: Maker, tmp_path: Path) -> None:
    sink = make(tmp_path)
    assert sink.name
    assert isinstance(sink.wants_picture, bool)
    for method in ("open", "write", "close"):
        own, agreed = inspect.signature(getattr(sink, method)), inspect.signature(getattr(Sink, method))
        assert list(own.parameters) == list(agreed.parameters)[1:]


@pytest.mark.parametrize(
    ("code", "way_out"),
    [
        (errno.ENOSPC, "no space left on device; free some space there"),
        (errno.EACCES, "permission denied; make it writable"),
        (errno.EROFS, "read-only file system; make it writable"),
        (errno.EIO, "input/output error; choose another folder"),
    ],
)
def test_a_failure_names_the_file_the_reason_and_the_way_out(code: int, way_out: str) -> None:
    message = str(write_failure(Path("/x/a.mp4"), OSError(code, os.strerror(code))))
    assert message.startswith(f"cannot write /x/a.mp4: {way_out}")


def test_a_guarded_file_keeps_its_checkpoint_and_drops_everything_after_a_failure(tmp_path: Path) -> None:
    limited = """
import resource, signal, sys
from pathlib import Path
from stream.sinks.guarded import GuardedFile
file = GuardedFile(Path(sys.argv[1]))
file.write(b"whole")
file.checkpoint()
resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))
assert file.write(b"does not fit") == 12
assert file.failure is not None
file.checkpoint()
file.seek(0)
assert file.write(b"SPOILT") == 6
file.close()
"""
    subprocess.run([sys.executable, "-c", limited, str(tmp_path / "a.bin")], check=True)
    assert (tmp_path / "a.bin").read_bytes() == b"whole"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small file system to fill")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
@over_all_sinks
def test_a_full_disk_is_one_sentence_and_what_was_written_stays(make: Maker, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(128 * 1024))
    sink = make(small_disk)
    sink.open(source())
    with pytest.raises(SinkError, match=r"no space left on device; free some space there, or choose another folder"):
        fill(sink)
    sink.close()
    written = sum(size_bytes(path) for path in sink.outputs)
    # Labels fill the disk with names before bytes, and of a recording the first fragment must fit whole.
    assert written > 50 * 1024 or sink.name in {"labels", "recorder"}


def fill(sink: Sink) -> None:
    """Write until the disk is full, and long enough for what is buffered to get there."""
    crowd = boxes([[n, n, n + 50, n + 50] for n in range(100)])
    for index in range(3000):
        each = busy(index)
        sink.write(each if sink.wants_picture else replace(each, detections=crowd))
    sink.close()


@pytest.mark.slow
def test_a_recording_plays_up_to_where_the_disk_was_full(small_disk: Path) -> None:
    path = small_disk / "annotated.mp4"
    sink, index = VideoSink(path, Overlay()), 0
    sink.open(source())
    with pytest.raises(SinkError):
        for index in range(1000):
            # A second of calm for each second of noise: many small fragments before the one that does not fit.
            sink.write(busy(index) if index % 50 > 40 else result(index))
    sink.close()
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) >= index - 75
    assert times == sorted(times)


@pytest.mark.slow
def test_a_disk_that_is_full_only_at_the_end_keeps_the_recording(small_disk: Path) -> None:
    """The index of the ordinary MP4 does not fit: the fragments must not be given up for it."""
    path = small_disk / "annotated.mp4"
    sink = VideoSink(path, Overlay())
    sink.open(source())
    for index in range(400):
        sink.write(result(index))
    room = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize))
    with pytest.raises(SinkError, match="no space left on device"):
        sink.close()
    assert len(decode(path)) >= 400 - 27
