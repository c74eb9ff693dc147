"""What a look at a live stream measures of its packets, and how it is said."""

from __future__ import annotations

from fractions import Fraction

import pytest

from stream.frame import SourceInfo
from stream.sources.live_probing import LiveProbe, PacketMeter, StreamFigures, live_rows


def metered(
    meter: PacketMeter, count: int, *, gop: int, fps: float = 25.0, burst: int = 0, jump_s: float = 0.0
) -> None:
    """Packets of 1000 bytes; the first ``burst`` arrive at once, and the own clock jumps in the middle."""
    for number in range(count):
        own_s = 100 + number / fps + (jump_s if number >= count // 2 else 0)
        meter.add(max(0, number - burst) / fps, own_s, 1000, is_keyframe=number % gop == 0)


def test_rate_bitrate_and_keyframes_are_measured_by_the_streams_own_times() -> None:
    meter = PacketMeter()
    metered(meter, 51, gop=20, burst=25)
    figures = meter.figures()
    assert (figures.packets, figures.span_s, figures.fps) == (51, 2.0, 25.0)
    assert figures.bits_per_s == 50 * 8000 / 2
    assert (figures.gop_frames, figures.gop_s, figures.b_frames) == (20, 0.8, False)


@pytest.mark.parametrize("jump_s", [-1000.0, 1000.0])
def test_a_stream_whose_clock_jumps_is_measured_by_ours(jump_s: float) -> None:
    meter = PacketMeter()
    metered(meter, 51, gop=25, jump_s=jump_s)
    figures = meter.figures()
    assert (figures.span_s, figures.fps, figures.gop_s) == (2.0, 25.0, 1.0)


def test_what_came_while_the_machine_stood_still_is_read_before_the_rate_is_told() -> None:
    meter = PacketMeter()
    for number in range(200):
        filmed_s = number / 25
        held_up = 1.0 < filmed_s < 4.0
        meter.add(4.0 if held_up else filmed_s, 100 + filmed_s, 1000, is_keyframe=number % 25 == 0)
        if meter.has_enough:
            break
    assert meter.figures().fps == 25.0
    assert 2.0 <= meter.figures().span_s < 4.0


def test_a_stream_whose_clock_is_too_slow_is_measured_by_ours_after_some_doubt() -> None:
    meter = PacketMeter()
    for number in range(200):
        meter.add(number / 25, number / 100, 1000, is_keyframe=number % 25 == 0)
        if meter.has_enough:
            break
    assert (meter.figures().fps, meter.figures().span_s) == (25.0, 6.0)


def test_a_source_that_is_read_faster_than_it_plays_is_measured_by_its_own_times() -> None:
    meter = PacketMeter(paced=True)
    for number in range(26):
        meter.add(0.001 * number, number / 25, 1000, is_keyframe=number == 0)
    assert meter.figures().fps == 25.0
    assert meter.figures().gop_frames is None


def test_missing_times_are_mended() -> None:
    meter = PacketMeter(paced=True)
    for number in range(20):
        meter.add(0.0, None if number in {0, 7} else number / 10, 1000, is_keyframe=number % 10 == 0)
    assert (meter.figures().fps, meter.figures().gop_s) == (10.0, 1.0)


def test_pictures_still_to_come_among_b_frames_do_not_count() -> None:
    meter = PacketMeter()
    shown = [0, *(4 * group + step for group in range(15) for step in (4, 2, 1, 3))]
    for number, order in enumerate(shown[:-3]):
        meter.add(number / 25, order / 25, 1000, is_keyframe=number == 0)
    assert (meter.figures().fps, meter.figures().b_frames) == (25.0, True)


def test_without_times_the_clock_counts() -> None:
    meter = PacketMeter()
    for number in range(11):
        meter.add(number / 5, None, 500, is_keyframe=True)
    assert (meter.figures().fps, meter.figures().gop_frames, meter.figures().bits_per_s) == (5.0, 1, 20_000)


def test_too_little_to_measure_is_no_error() -> None:
    meter = PacketMeter()
    assert meter.figures().fps is None
    meter.add(0.0, 0.0, 1, is_keyframe=True)
    assert meter.figures().bits_per_s is None


def test_facts_are_said_in_plain_words() -> None:
    info = SourceInfo("cam", "rtsp://***@cam/x", "rtsp", "mjpeg", 64, 48, Fraction(0), Fraction(1, 90_000))
    every = StreamFigures(40, 2.0, 20.0, 1_500_000, 1, 0.05, b_frames=False)
    seldom = StreamFigures(1, 0.0, None, None, None, None, b_frames=False)
    facts = dict(live_rows(LiveProbe(info, "RTSP over TCP", 0.5, every)))
    assert facts["keyframes"] == "every frame"
    assert facts["rate"] == "20.0 fps measured over 2.0 s"
    assert facts["bitrate"] == "1.50 Mbit/s"
    facts = dict(live_rows(LiveProbe(info, "RTSP over TCP", 0.5, seldom)))
    assert facts["rate"] == "too few pictures came"
    assert facts["keyframes"].startswith("fewer than two")
