"""supervision and trackers without scipy: what is left out comes when it is asked for, and is the real thing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LEFT_OUT = "sorted({name.split('.')[0] for name in sys.modules} & {'scipy', 'requests', 'matplotlib'})"

TRACK = f"""
import sys
import numpy as np
from stream.vision import lean_import, sv
tracker = lean_import("trackers").ByteTrackTracker()
for step in range(5):
    boxes = np.array([[10 + step, 10, 50, 50], [100, 100, 150 + step, 160]], float)
    seen = sv.Detections(boxes[:: 1 - 2 * (step % 2)], confidence=np.array([0.9, 0.9]), class_id=np.array([0, 0]))
    found = tracker.update(seen)
assert sorted(found.tracker_id) == [0, 1], found
print({LEFT_OUT})
"""

USE_THE_REST = """
import sys
import numpy as np
from stream.vision import lean_import, sv
import supervision.annotators.core, supervision.dataset.utils
lean_import("trackers")
import trackers.core.bytetrack.tracker as bytetrack
lean = bytetrack.linear_sum_assignment
assert not [name for name in sys.modules if name.startswith("scipy.")]
costs = np.random.default_rng(1).random((20, 30))
tree = supervision.dataset.utils.cKDTree([[0.0, 0.0], [3.0, 4.0]])
assert tree.query([3.0, 4.1])[1] == 1
curve, _ = supervision.annotators.core.splprep([[0, 1, 2, 3], [0, 1, 4, 9]], s=0)
assert np.allclose(supervision.annotators.core.splev([0, 1], curve), [[0, 3], [0, 9]])
from scipy.optimize import linear_sum_assignment
assert (np.array(lean(costs)) == np.array(linear_sum_assignment(costs))).all()
from supervision.utils import file
import requests
assert file.requests.get is requests.get
"""

A_VERSION_THAT_NEEDS_MORE = """
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from requests.exceptions import RequestException
distance = float(cdist([[0, 0]], [[3, 4]])[0, 0])
"""


def run(code: str, *paths: Path) -> str:
    more = f"import sys; sys.path[:0] = {[str(path) for path in paths]}\n"
    done = subprocess.run([sys.executable, "-c", more + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_objects_are_tracked_without_scipy() -> None:
    assert run(TRACK) == "[]"


@pytest.mark.slow
def test_what_was_left_out_is_there_when_it_is_called() -> None:
    run(USE_THE_REST)


@pytest.mark.slow
def test_a_version_that_needs_more_of_scipy_gets_it(tmp_path: Path) -> None:
    (tmp_path / "newer.py").write_text(A_VERSION_THAT_NEEDS_MORE)
    assert run("from stream.vision import lean_import; print(lean_import('newer').distance)", tmp_path) == "5.0"
