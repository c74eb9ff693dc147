"""What can be set for ``videodisco serve``, beside what a run of cameras has."""

from __future__ import annotations

from pydantic import Field

from stream.config import Settings
from stream.http.settings import HttpSettings
from stream.sources.settings import ReachSettings


class ImageSettings(Settings):
    """How single pictures are looked at."""

    max_megapixels: float = Field(
        50, gt=0, le=1000, allow_inf_nan=False, description="Larger pictures are refused before they are decoded."
    )
    max_files: int = Field(16, ge=1, le=1000, description="Pictures in one request.")
    queue: int = Field(
        32, ge=1, le=10_000, description="Requests that may wait or be worked on; more are told to come back."
    )
    deadline_s: float = Field(
        10, gt=0, le=600, allow_inf_nan=False, description="A request that is not answered by then is given up."
    )
    models: int = Field(
        2, ge=1, le=32, description="Models kept ready for requests that name one, beside those of the cameras."
    )


class LiveViewSettings(Settings):
    """The pictures that browsers see. They are made only while somebody looks."""

    fps: float = Field(15, gt=0, le=120, allow_inf_nan=False, description="At most so many pictures a second.")
    width_px: int = Field(1280, ge=64, le=8192, description="Wider pictures are scaled down to this.")
    quality: int = Field(80, ge=10, le=100, description="JPEG quality.")
    viewers: int = Field(64, ge=1, le=10_000, description="Viewers of all cameras together.")


class CameraSourceSettings(ReachSettings):
    """What cameras added over HTTP may connect to. What this file or the command line names is always allowed.

    Refused unless allowed here: this machine itself, link-local addresses (where clouds keep their metadata), its
    webcams, and local files.
    """

    cameras: int = Field(64, ge=1, le=10_000, description="Cameras there may be, with those of the configuration.")


class ImageLogSettings(Settings):
    """What is kept of the pictures that were looked at for requests. The pictures themselves are not."""

    sample: float = Field(
        1.0, ge=0, le=1, allow_inf_nan=False, description="Share of the predictions that is kept; 0: none."
    )
    every_s: float = Field(
        600, ge=1, le=86_400, allow_inf_nan=False, description="A file of predictions is closed and logged so often."
    )
    max_mb: float = Field(16, gt=0, le=1000, allow_inf_nan=False, description="Or when it is so large.")
    keep: int = Field(100, ge=1, le=100_000, description="Files kept on this disk; the oldest go.")


class ServeSettings(Settings):
    """``videodisco serve``: the station over HTTP."""

    http: HttpSettings = HttpSettings()
    images: ImageSettings = ImageSettings()
    live: LiveViewSettings = LiveViewSettings()
    camera_sources: CameraSourceSettings = CameraSourceSettings()
    image_log: ImageLogSettings = ImageLogSettings()
