"""Which pictures of a live camera are looked at: by rate, by motion, by the clock."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.attention import IDLE_AFTER_S, LINGER_S, Attention
from stream.frame import Pixels
from stream.motion import MotionDetector
from stream.sources.settings import LookSettings

RATE = 25


@cache
def grain(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((360, 640), np.float32)


def scene(box_x: int | None = None, *, seed: int = 0, noise: float = 2.0, light: int = 110, box: int = 30) -> Pixels:
    """A noisy grey 640x360 wall, with a dark box 40 px wide where one is asked for."""
    grey = light + noise * grain(seed % 16)
    if box_x is not None:
        grey[150:230, box_x : box_x + 40] = box
    return np.asarray(grey.clip(0, 255), np.uint8)


def looked_at(attention: Attention, seconds: float, picture: Callable[[int], Pixels], begin: int = 0) -> list[int]:
    numbers = range(begin, begin + round(seconds * RATE))
    return [number for number in numbers if attention.wants(lambda n=number: picture(n), number / RATE)]  # type: ignore[misc] # the default binds


def settings(**values: object) -> LookSettings:
    return LookSettings.model_validate(values)


def test_without_a_gate_every_picture_is_looked_at() -> None:
    assert len(looked_at(Attention(settings(motion="off")), 2, lambda n: scene())) == 2 * RATE


@pytest.mark.parametrize("detect_fps", [1.0, 4.0, 10.0, 12.5, 24.0])
def test_the_rate_of_detection_is_kept_whatever_the_camera_does(detect_fps: float) -> None:
    seen = looked_at(Attention(settings(motion="off", detect_fps=detect_fps)), 20, lambda n: scene())
    assert len(seen) == pytest.approx(20 * detect_fps, abs=1)


def test_a_rate_above_the_cameras_looks_at_all() -> None:
    assert len(looked_at(Attention(settings(motion="off", detect_fps=60)), 2, lambda n: scene())) == 2 * RATE


def test_a_pause_of_the_camera_is_not_made_up_for_in_a_burst() -> None:
    attention = Attention(settings(motion="off", detect_fps=5))
    looked_at(attention, 1, lambda n: scene())
    assert len(looked_at(attention, 1, lambda n: scene(), begin=100 * RATE)) <= 7


def test_a_still_scene_is_looked_at_now_and_then_only() -> None:
    attention = Attention(settings(check_every_s=5))
    seen = looked_at(attention, 60, lambda n: scene(seed=n))
    later = [number for number in seen if number > 3 * RATE]
    assert len(later) == pytest.approx(57 / 5, abs=1)
    assert attention.still


def test_whatever_moves_is_looked_at_while_it_moves_and_a_little_longer() -> None:
    attention = Attention(settings(check_every_s=1000))
    looked_at(attention, 10, lambda n: scene(seed=n))
    walking = looked_at(attention, 4, lambda n: scene(box_x=(n - 10 * RATE) * 6, seed=n), begin=10 * RATE)
    assert len(walking) == 4 * RATE
    after = looked_at(attention, 20, lambda n: scene(box_x=99 * 6, seed=n), begin=14 * RATE)
    assert LINGER_S * RATE - 1 <= len(after) <= (LINGER_S + 2) * RATE


def test_noise_at_night_is_no_motion_and_a_person_in_it_is() -> None:
    attention = Attention(settings(check_every_s=1000))
    looked_at(attention, 5, lambda n: scene(seed=n, noise=12, light=40))
    assert not looked_at(attention, 5, lambda n: scene(seed=n, noise=12, light=40), begin=5 * RATE)
    seen = looked_at(attention, 1, lambda n: scene(box_x=n, seed=n, noise=12, light=40, box=120), begin=10 * RATE)
    assert len(seen) == RATE


def test_a_light_that_goes_on_is_motion() -> None:
    motion = MotionDetector()
    motion.moving(scene())
    assert not motion.moving(scene(seed=1))
    assert motion.moving(scene(seed=2, light=200))


def test_a_change_of_size_is_looked_at() -> None:
    motion = MotionDetector()
    assert motion.moving(scene())
    assert not motion.moving(scene(seed=1))
    assert motion.moving(scene(seed=1)[:, :320])


def test_only_an_idle_camera_may_decode_keyframes_alone() -> None:
    attention = Attention(settings(idle_decode="keyframes"))
    looked_at(attention, IDLE_AFTER_S / 2, lambda n: scene(seed=n))
    early = attention.idle
    looked_at(attention, IDLE_AFTER_S + 1, lambda n: scene(seed=n), begin=round(IDLE_AFTER_S / 2 * RATE))
    assert attention.still
    assert attention.idle
    assert not early
