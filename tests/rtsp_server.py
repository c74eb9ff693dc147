"""A real RTSP camera for tests: GStreamer's server as a child process of the system's Python.

Run as a script (``/usr/bin/python3 rtsp_server.py '{...}'``) it is the server: it prints ``ready`` and obeys lines on
its standard input (``size WIDTH HEIGHT``); it ends when its input does. Imported, it is :class:`RtspCamera`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PYTHON = "/usr/bin/python3"
_END_S = 60


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """What the camera sends: a test pattern, or ``file`` (any GStreamer can read) over and over.

    ``codec`` is h264, h265 or jpeg. ``b_frames`` and ``sound`` make the stream less simple; ``keyframe_every_s`` is
    the length of a GOP.
    """

    path: str = "live"
    width: int = 320
    height: int = 240
    rate: int = 25
    keyframe_every_s: float = 1.0
    file: str | None = None
    user: str | None = None
    password: str | None = None
    digest: bool = True
    codec: str = "h264"
    b_frames: int = 0
    sound: bool = False
    picture: bool = True


@functools.cache
def available() -> bool:
    """Whether the server's parts are installed."""
    check = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        done = subprocess.run([PYTHON, "-c", check], capture_output=True, timeout=60, check=False)
    except OSError:
        return False
    return done.returncode == 0


class RtspCamera:
    """A camera on loopback that can be switched off and on again, on the same port, which stays its own meanwhile."""

    def __init__(self, spec: CameraSpec | None = None) -> None:
        from tests.ports import HeldPort  # the server's own Python knows nothing of it

        self.spec = spec or CameraSpec()
        self._held = HeldPort()
        self.port = self._held.number
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """The address without credentials."""
        return f"rtsp://127.0.0.1:{self.port}/{self.spec.path}"

    def __enter__(self) -> RtspCamera:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it listens."""
        orders = json.dumps(dataclasses.asdict(self.spec) | {"port": self.port})
        self._process = subprocess.Popen(
            [PYTHON, str(Path(__file__).absolute()), orders],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            self.stop()
            raise RuntimeError("the RTSP server did not start")

    def stop(self) -> None:
        """Kill the server, as a power cut would."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(_END_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None

    def keep(self) -> None:
        """Start it again if it has ended by itself: GStreamer's server does so now and then."""
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self.start()

    def resize(self, width: int, height: int) -> None:
        """Change the picture's size within the running stream."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"size {width} {height}\n")
        self._process.stdin.flush()


def _launch_line(spec: CameraSpec) -> str:
    """The pipeline of one client, as gst-launch writes it."""
    parts = []
    if spec.picture:
        size = f"video/x-raw,format=I420,width={spec.width},height={spec.height},framerate={spec.rate}/1"
        pictures = "videotestsrc is-live=true pattern=ball"
        if spec.file:
            # The whole clip is read before each turn; identity gives it a live source's pace and running times.
            pictures = (
                f'multifilesrc location="{spec.file}" loop=true ! decodebin ! identity sync=true single-segment=true'
            )
        parts.append(
            f"{pictures} ! videoconvert ! videoscale ! videorate ! capsfilter name=size caps={size} "
            f"! {_encoder(spec)} name=pay0"
        )
    if spec.sound:
        number = 1 if spec.picture else 0
        parts.append(f"audiotestsrc is-live=true ! audioconvert ! alawenc ! rtppcmapay name=pay{number} pt=8")
    return f"( {' '.join(parts)} )"


def _encoder(spec: CameraSpec) -> str:
    if spec.codec == "jpeg":
        return "jpegenc ! rtpjpegpay pt=26"
    gop = max(1, round(spec.rate * spec.keyframe_every_s))
    if spec.codec == "h265":
        return f"x265enc tune=zerolatency speed-preset=ultrafast key-int-max={gop} ! rtph265pay pt=96"
    tune = "speed-preset=veryfast" if spec.b_frames else "speed-preset=ultrafast tune=zerolatency"
    profile = "main" if spec.b_frames else "baseline"
    return (
        f"x264enc {tune} bframes={spec.b_frames} key-int-max={gop} ! video/x-h264,profile={profile} ! rtph264pay pt=96"
    )


def _serve(orders: dict[str, Any]) -> None:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    gi.require_version("GstRtsp", "1.0")
    from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

    Gst.init(None)
    port = orders.pop("port")
    spec = CameraSpec(**orders)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(_launch_line(spec))
    factory.set_shared(True)
    server.get_mount_points().add_factory(f"/{spec.path}", factory)
    if spec.user:
        _ask_for_password(GstRtspServer, GstRtsp.RTSPAuthMethod, server, factory, spec)
    filters: list[Any] = []
    factory.connect("media-configure", lambda _factory, media: filters.append(media.get_element()))
    if not server.attach(None):
        raise SystemExit("the port is taken")
    loop = GLib.MainLoop()

    def obey(channel: Any, _condition: Any) -> bool:
        line = channel.readline()
        if not line:
            loop.quit()
            return False
        _, width, height = line.split()
        caps = Gst.Caps.from_string(f"video/x-raw,format=I420,width={width},height={height},framerate={spec.rate}/1")
        for element in filters:
            element.get_by_name("size").set_property("caps", caps)
        return True

    GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, obey)
    print("ready", flush=True)  # noqa: T201 # the parent waits for it
    loop.run()


def _ask_for_password(rtsp: Any, methods: Any, server: Any, factory: Any, spec: CameraSpec) -> None:
    auth = rtsp.RTSPAuth()
    auth.set_supported_methods(methods.DIGEST if spec.digest else methods.BASIC)
    token = rtsp.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(rtsp.RTSPAuth.make_basic(spec.user, spec.password), token)
    auth.add_digest(spec.user, spec.password, token)
    server.set_auth(auth)
    permissions = rtsp.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))
