"""Two minutes of four cameras, of which one flaps and one is hostile."""

from __future__ import annotations

import pytest

from stream.errors import EXIT_SIGTERM
from tests.conftest import missing
from tests.rtsp_server import available
from tests.soak import RATE, STEADY, soak


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_bad_neighbours_take_nothing_from_good_cameras_and_memory_stays_flat() -> None:
    if not available():
        missing("GStreamer's RTSP server", "install Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi")
    soaked = soak(120, part_s=30)
    for name in STEADY:
        assert len(soaked.rates[name]) >= 2
        assert all(abs(rate - RATE) / RATE <= 0.05 for rate in soaked.rates[name]), soaked.rates
    first_mb, last_mb = soaked.memory_mb
    assert last_mb - first_mb < 0.05 * first_mb, (first_mb, last_mb)
    # A flapping camera comes and goes with its thread and its socket; none may stay behind.
    middle, end = soaked.looks[len(soaked.looks) // 2], soaked.looks[-1]
    assert end.threads <= middle.threads + 3
    assert end.files <= middle.files + 5
    assert soaked.exit_code == EXIT_SIGTERM
    assert soaked.shutdown_s < 10
    assert "Traceback" not in soaked.said
