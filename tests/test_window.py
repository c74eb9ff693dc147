"""What the window shows and what its keys do, on a screen of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from edge.window import Window
from edge.window.paint import SELECTED
from edge.window.window import FIRST_SIZE, GREETING_S, LARGEST, OVERVIEW_EVERY_S, REDRAW_EVERY_S, canvas_size
from stream.frame import Pixels
from stream.sources.status import SourceState, SourceStatus
from tests.results import boxes, result
from tests.window_program import (
    BLUE,
    GREEN,
    RED,
    WAITING,
    YELLOW,
    FakeControls,
    FakeFeed,
    plain,
    scene_of_four,
    share,
)

LIVE = SourceStatus(SourceState.LIVE, 0.0)


@dataclass(slots=True)
class FakeScreen:
    """Takes canvases, presses keys."""

    at: tuple[int, int] = (1280, 720)
    keys: list[int] = field(default_factory=list)
    moves: list[tuple[int, int, bool]] = field(default_factory=list)
    shown: list[Pixels] = field(default_factory=list)
    is_open: bool = True

    def size(self) -> tuple[int, int]:
        return self.at

    def resize(self, width: int, height: int) -> None:
        self.at = (width, height)

    def show(self, canvas: Pixels) -> None:
        assert self.is_open, "showing something opens a closed window again"
        self.shown.append(canvas)

    def key(self, wait_ms: int) -> int:
        return self.keys.pop(0) if self.keys else -1

    def pointer(self) -> list[tuple[int, int, bool]]:
        moves, self.moves = self.moves, []
        return moves

    def close(self) -> None:
        self.is_open = False


class Watch:
    """A window with its screen, cameras and clock; the greeting is over."""

    def __init__(self, feeds: Sequence[FakeFeed]) -> None:
        self.screen, self.controls = FakeScreen(), FakeControls()
        self.feeds = list(feeds)
        self.window = Window(lambda: self.feeds, self.controls, self.screen)
        self.now_s = 0.0
        self.deliver()
        self.step()
        self.later(GREETING_S)

    def deliver(self) -> None:
        """A new picture from every live camera that has one."""
        for feed in self.feeds:
            if feed.shown is not None and feed.state.state is SourceState.LIVE:
                feed.show(feed.shown, self.now_s)

    def step(self, key: str | int = -1) -> bool:
        self.screen.keys = [ord(key) if isinstance(key, str) else key]
        self.now_s += 0.01
        return self.window.step(self.now_s)

    def later(self, seconds: float = 0.5) -> None:
        for _ in range(10):
            self.now_s += seconds / 10
            self.deliver()
            self.window.step(self.now_s)

    def press(self, key: str | int) -> Pixels:
        """What is to be seen after a key."""
        assert self.step(key)
        self.step()
        return self.picture

    @property
    def picture(self) -> Pixels:
        return self.screen.shown[-1]

    def tile(self, number: int) -> Pixels:
        """A quarter of the picture, without its surroundings."""
        height, width = self.picture.shape[:2]
        top, left = number // 2 * height // 2, number % 2 * width // 2
        return self.picture[top + height // 8 : top + height * 3 // 8, left + width // 8 : left + width * 3 // 8]


def four() -> Watch:
    return Watch(scene_of_four())


def one() -> Watch:
    return Watch([FakeFeed("door", result(0, picture=plain(BLUE)))])


def test_four_cameras_are_seen_at_once() -> None:
    watch = four()
    assert share(watch.tile(0), BLUE) == 1
    assert share(watch.tile(3), YELLOW) > 0.99


def test_an_offline_camera_is_grey_and_dark() -> None:
    tile = four().tile(1)
    assert share(tile, GREEN) == 0
    colourless = tile.max(axis=2).astype(int) - tile.min(axis=2)
    assert (colourless < 12).mean() > 0.99
    assert np.median(tile) < 60


def test_a_camera_that_comes_back_is_seen_in_colour() -> None:
    watch = four()
    watch.feeds[1].state = LIVE
    watch.later()
    assert share(watch.tile(1), GREEN) == 1


def test_a_camera_that_goes_offline_does_not_stay_in_colour() -> None:
    watch = four()
    watch.feeds[0].state = SourceStatus(SourceState.STALLED, watch.now_s, "nothing comes")
    watch.later()
    assert share(watch.tile(0), BLUE) == 0


def test_a_picture_that_stops_is_not_shown_as_live() -> None:
    watch = one()
    for _ in range(20):
        watch.now_s += 0.3
        watch.step()
    assert share(watch.picture, BLUE) == 0


def test_nothing_new_is_not_drawn_again() -> None:
    watch = Watch([FakeFeed("none", None, SourceStatus(SourceState.CONNECTING, 0.0))])
    watch.later()
    shown = len(watch.screen.shown)
    for _ in range(200):
        watch.step()
    assert len(watch.screen.shown) == shown


@pytest.mark.parametrize(("count", "every_s"), [(1, REDRAW_EVERY_S), (4, REDRAW_EVERY_S), (9, OVERVIEW_EVERY_S)])
def test_a_fast_camera_is_drawn_no_more_often_than_can_be_seen(count: int, every_s: float) -> None:
    watch = Watch([FakeFeed(f"cam{number}", result(0, picture=plain(BLUE))) for number in range(count)])
    shown, begun_s = len(watch.screen.shown), watch.now_s
    for _ in range(300):
        watch.deliver()
        watch.step()
    rate = (len(watch.screen.shown) - shown) / (watch.now_s - begun_s)
    assert 0.6 / every_s < rate <= 1.05 / every_s


def test_pause_freezes_the_picture_and_says_so() -> None:
    watch = one()
    shown = watch.feeds[0].shown
    assert shown is not None
    watch.press(" ")
    paused = watch.picture
    watch.feeds[0].shown = replace(shown, frame=replace(shown.frame, picture=plain(RED)))
    watch.later()
    assert share(watch.picture, RED) == 0
    assert share(paused[:28, :24], WAITING) > 0.05  # in its bar
    assert share(paused[-60:], BLUE) < 0.95  # and in a panel
    watch.press(" ")
    watch.later()
    assert share(watch.picture, RED) > 0.9


def test_snapshot_and_recording_are_asked_of_the_chosen_camera() -> None:
    watch = four()
    watch.press("s")
    watch.screen.moves = [(1000, 600, False)]
    watch.step()
    watch.press("r")
    watch.press(9)
    watch.press(9)
    watch.press("S")
    assert watch.controls.asked == ["snapshot blue", "record yellow", "snapshot green"]


def test_what_was_asked_is_said_for_a_moment() -> None:
    watch = one()
    before = watch.picture
    after = watch.press("s")
    assert not np.array_equal(before[-80:], after[-80:])
    watch.later(2.0)
    assert share(watch.picture[-80:], BLUE) == 1


def test_tab_shows_each_camera_large_and_then_all_again() -> None:
    watch = four()
    assert share(watch.press(9)[100:-100], BLUE) > 0.9
    for _ in range(2):
        watch.press(9)
    assert share(watch.press(9)[100:-100], YELLOW) > 0.9
    watch.press(9)
    assert share(watch.tile(0), BLUE) == 1
    assert share(watch.tile(3), YELLOW) > 0.99


def test_escape_goes_back_to_all() -> None:
    watch = four()
    watch.press(9)
    watch.press(27)
    assert share(watch.tile(3), YELLOW) > 0.99


def test_a_click_enlarges_a_tile_and_makes_it_small_again() -> None:
    watch = four()
    watch.screen.moves = [(1000, 600, True)]
    watch.step()
    watch.later()
    assert share(watch.picture[100:-100], YELLOW) > 0.9
    watch.screen.moves = [(300, 300, True)]
    watch.step()
    watch.later()
    assert share(watch.tile(0), BLUE) == 1


def test_the_tile_under_the_pointer_is_marked() -> None:
    watch = four()
    marked = [share(watch.picture[:360], SELECTED), share(watch.picture[360:], SELECTED)]
    watch.screen.moves = [(1000, 600, False), (639, 358, False)]  # the last one lies in a gap
    watch.later()
    now = [share(watch.picture[:360], SELECTED), share(watch.picture[360:], SELECTED)]
    assert marked[0] > 0.005 > marked[1]
    assert now[1] > 0.005 > now[0]


def test_help_comes_and_goes() -> None:
    watch = one()
    plain_picture = watch.picture
    with_help = watch.press("h")
    assert share(with_help, BLUE) < share(plain_picture, BLUE) - 0.1
    watch.press("h")
    assert np.array_equal(watch.picture[100:-100], plain_picture[100:-100])


def test_layers_are_switched_for_all_cameras_and_those_to_come() -> None:
    seen = result(0, boxes([[200, 100, 400, 300]], track_ids=[1]), picture=plain(BLUE))
    watch = Watch([FakeFeed("a", seen)])
    labelled = watch.picture
    bare = watch.press("l")
    assert not np.array_equal(labelled, bare)
    watch.feeds = [FakeFeed("b", seen)]
    watch.deliver()
    watch.later()
    assert np.array_equal(watch.picture[40:], bare[40:])
    assert np.array_equal(watch.press("l")[40:], labelled[40:])


def test_quit_closes_and_says_so() -> None:
    watch = one()
    assert not watch.step("q")
    assert watch.controls.asked == ["quit"]
    assert not watch.step()


def test_the_close_button_closes_without_ending_the_run() -> None:
    watch = one()
    watch.screen.is_open = False
    assert not watch.step()
    assert watch.controls.asked == []


def test_closing_twice() -> None:
    watch = one()
    watch.window.close()
    watch.window.close()
    assert not watch.step()


def test_cameras_come_and_go() -> None:
    watch = four()
    watch.press(9)
    watch.feeds = watch.feeds[3:]
    watch.later()
    assert share(watch.picture[100:-100], YELLOW) > 0.9
    watch.feeds = []
    watch.later()
    assert share(watch.picture, YELLOW) == 0
    watch.feeds = scene_of_four()
    watch.deliver()
    watch.later()
    assert share(watch.tile(0), BLUE) == 1


@pytest.mark.parametrize("key", ["r", "s", "\t"])
@pytest.mark.parametrize("clicked", [False, True])
def test_a_camera_that_has_just_gone_cannot_be_chosen(key: str, *, clicked: bool) -> None:
    """It is still on the canvas: that is drawn anew only some hundredths of a second later."""
    watch = four()
    watch.deliver()
    watch.later()
    gone = watch.feeds.pop()
    x, y = watch.screen.at[0] * 3 // 4, watch.screen.at[1] * 3 // 4
    watch.screen.moves = [(x, y, clicked)]
    assert watch.step(key)
    assert gone.name not in " ".join(watch.controls.asked)


def test_the_canvas_follows_the_window() -> None:
    watch = four()
    watch.screen.at = (900, 700)
    watch.later()
    assert watch.picture.shape == (700, 900, 3)
    assert share(watch.tile(0), BLUE) > 0.8


def test_a_camera_alone_gets_a_window_of_its_shape_once() -> None:
    watch = Watch([FakeFeed("door", result(0, picture=plain(BLUE, 768, 576)))])
    height, width = watch.picture.shape[:2]
    assert share(watch.picture[28:], BLUE) > 0.99
    assert (width, height) != FIRST_SIZE
    watch.screen.at = (1000, 500)
    watch.later()
    assert watch.picture.shape == (500, 1000, 3)


@pytest.mark.parametrize(
    ("window", "canvas"),
    [((1280, 720), (1280, 720)), ((0, 0), FIRST_SIZE), ((10, 10), (320, 200)), ((3840, 2160), LARGEST)],
)
def test_the_canvas_is_bounded(window: tuple[int, int], canvas: tuple[int, int]) -> None:
    assert canvas_size(*window) == canvas


def test_a_result_without_a_picture_leaves_the_one_before() -> None:
    watch = one()
    shown = watch.feeds[0].shown
    assert shown is not None
    watch.feeds[0].shown = replace(shown, frame=replace(shown.frame, picture=None, received_s=watch.now_s))
    for _ in range(10):
        watch.step()
    assert share(watch.picture, BLUE) > 0.9
