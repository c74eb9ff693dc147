"""The states of a live source, and since when and why it is in them."""

from __future__ import annotations

from stream.sources.backoff import Failure
from stream.sources.health import SourceHealth
from stream.sources.status import SourceState, SourceStatus


def live_at(now_s: float, stall_s: float = 2.0) -> SourceHealth:
    health = SourceHealth(now_s, stall_s=stall_s)
    health.live(now_s)
    return health


def test_it_begins_by_connecting() -> None:
    assert SourceHealth(5.0, stall_s=2).status(6.0) == SourceStatus(SourceState.CONNECTING, 5.0)


def test_the_first_picture_makes_it_live_and_counts_the_connection() -> None:
    health = live_at(7.0)
    assert health.status(7.5) == SourceStatus(SourceState.LIVE, 7.0, connects=1)
    health.failed(Failure.UNREACHABLE, "gone", 8.0)
    health.live(9.0)
    assert health.status(9.0).connects == 2


def test_a_file_that_begins_again_has_been_live_all_the_time() -> None:
    health = live_at(7.0)
    assert not health.live(9.0)
    assert health.status(9.0) == SourceStatus(SourceState.LIVE, 7.0, connects=1)


def test_silence_is_a_stall_from_its_limit_on_and_the_next_packet_ends_it() -> None:
    health = live_at(0.0)
    health.packet(0.04)
    assert health.status(2.0).state is SourceState.LIVE
    stalled = health.status(5.04)
    assert (stalled.state, stalled.since_s, stalled.connects) == (SourceState.STALLED, 2.04, 1)
    assert stalled.reason == "nothing has come from the camera for 5 s"
    health.packet(6.0)
    assert health.status(6.5) == SourceStatus(SourceState.LIVE, 0.0, connects=1)


def test_a_camera_that_sends_seldom_is_given_two_of_its_intervals() -> None:
    health = live_at(0.0)
    for now_s in range(5, 200, 5):
        health.packet(float(now_s))
    assert health.status(195 + 9.9).state is SourceState.LIVE
    assert health.status(195 + 10.1).state is SourceState.STALLED


def test_silence_before_the_first_picture_is_no_stall() -> None:
    assert SourceHealth(0.0, stall_s=2).status(60.0).state is SourceState.CONNECTING


def test_a_failure_says_why_and_when_it_is_tried_again() -> None:
    health = live_at(0.0)
    health.failed(Failure.UNREACHABLE, "gone", 3.0, retry_at_s=4.5)
    assert health.status(3.5) == SourceStatus(SourceState.BACKING_OFF, 3.0, "gone", 1, 4.5)
    health.failed(Failure.REFUSED, "wrong password", 5.0, retry_at_s=65.0)
    assert health.status(90.0) == SourceStatus(SourceState.REFUSED, 5.0, "wrong password", 1, 65.0)


def test_connecting_again_keeps_the_reason_until_it_succeeds() -> None:
    health = live_at(0.0)
    health.failed(Failure.UNREACHABLE, "gone", 3.0, retry_at_s=4.5)
    health.connecting(4.5)
    assert health.status(5.0) == SourceStatus(SourceState.CONNECTING, 4.5, "gone", 1)
    health.live(6.0)
    assert health.status(6.0).reason == ""


def test_the_end_is_final_and_its_first_reason_stays() -> None:
    health = live_at(0.0)
    health.ended(3.0, "played to its end")
    health.ended(4.0, "stopped")
    assert health.status(99.0) == SourceStatus(SourceState.ENDED, 3.0, "played to its end", 1)


def test_how_long_it_has_been_live() -> None:
    health = live_at(10.0)
    assert health.live_for_s(75.0) == 65.0
    health.failed(Failure.UNREACHABLE, "gone", 80.0)
    assert health.live_for_s(90.0) == 0.0
