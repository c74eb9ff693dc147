"""Listing the cameras of this machine, on a device tree of our own."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av.device
import pytest

from stream.discovery import webcams as listing
from stream.discovery.webcams import Webcam, linux_webcams, webcams

CAPTURE = 0x1 | 0x04000000
MULTIPLANAR_CAPTURE = 0x1000 | 0x04000000
METADATA = 0x00800000 | 0x04000000


def tree(sysfs: Path, names: Mapping[str, str | None]) -> Path:
    """Device nodes with their names, as the kernel lists them."""
    for node, name in names.items():
        (sysfs / node).mkdir(parents=True)
        if name is not None:
            (sysfs / node / "name").write_text(name + "\n")
    return sysfs


def test_cameras_are_listed_by_number_without_their_metadata_nodes(tmp_path: Path) -> None:
    names = {"video0": "C920", "video1": "C920", "video10": "Dock", "video2": "Microscope", "v4l-subdev0": "sensor"}
    capabilities = {"video0": CAPTURE, "video1": METADATA, "video10": CAPTURE, "video2": MULTIPLANAR_CAPTURE}
    found = linux_webcams(tree(tmp_path, names), lambda device: capabilities[device.name])
    assert found.found == (
        Webcam("0", "C920", "/dev/video0"),
        Webcam("2", "Microscope", "/dev/video2"),
        Webcam("10", "Dock", "/dev/video10"),
    )
    assert not found.note


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "group 'video'"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "pass the device in"),
        (OSError(errno.EBUSY, "Device or resource busy"), "Device or resource busy"),
    ],
)
def test_a_camera_that_cannot_be_opened_is_listed_with_the_reason(tmp_path: Path, error: OSError, words: str) -> None:
    def refuse(_device: Path) -> int:
        raise error

    (webcam,) = linux_webcams(tree(tmp_path, {"video3": "C920"}), refuse).found
    assert (webcam.source, webcam.name) == ("3", "C920")
    assert words in webcam.problem


def test_a_nameless_device_and_no_device_at_all(tmp_path: Path) -> None:
    (webcam,) = linux_webcams(tree(tmp_path / "one", {"video0": None}), lambda _device: CAPTURE).found
    assert webcam.name == "unnamed"
    assert linux_webcams(tmp_path / "none", lambda _device: CAPTURE).found == ()


def test_a_node_that_is_no_camera_at_all_gives_an_error_not_a_crash(tmp_path: Path) -> None:
    plain = tmp_path / "video0"
    plain.write_bytes(b"")
    with pytest.raises(OSError, match="ioctl"):
        listing._capabilities(plain)


def test_macos_cameras_go_by_number_and_windows_cameras_by_name(monkeypatch: Any) -> None:
    devices = {
        "avfoundation": [
            av.device.DeviceInfo("0", "FaceTime HD", True, ["video"]),
            av.device.DeviceInfo("0", "Microphone", True, ["audio"]),
        ],
        "dshow": [av.device.DeviceInfo("@device_pnp_1", "HD Webcam", False, ["video"])],
    }
    monkeypatch.setattr(av.device, "enumerate_input_devices", devices.__getitem__)
    assert webcams("darwin").found == (Webcam("0", "FaceTime HD", "0"),)
    assert webcams("win32").found == (Webcam("webcam:HD Webcam", "HD Webcam", "@device_pnp_1"),)


@pytest.mark.parametrize("platform", ["darwin", "win32", "freebsd14"])
def test_where_cameras_cannot_be_listed_a_sentence_says_so(platform: str) -> None:
    # This machine's libav knows neither macOS's nor Windows' devices.
    found = webcams(platform)
    assert found.found == ()
    assert "videodisco run 0" in found.note
