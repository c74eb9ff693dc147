"""What may be sent to the cloud, how much of it, and where."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from edge.zone_settings import ClassWord
from stream.config import Secret, Settings, build

TOKEN_VARIABLE = "VIDEODISCO_CLOUD_TOKEN"  # noqa: S105 - the variable's name

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Span = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Classes = tuple[ClassWord, ...]
SidePx = Annotated[int, Field(ge=1, le=10_000)]
Hits = Annotated[int, Field(ge=1, le=100)]
Sharpness = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Margin = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
ZoneNames = tuple[str, ...]


class PolicySettings(Settings):
    """What is worth asking the cloud about, and what must never reach it."""

    confidence_low: Share = Field(0.3, description="What the detector is less sure of is not worth a question.")
    confidence_high: Share = Field(0.75, description="Nor is what it is surer of, but for the audit.")
    classes: Classes = Field((), description="Names or numbers of the classes to ask about; empty: all that it knows.")
    zones: ZoneNames = Field((), description="Only objects inside one of these zones; empty: anywhere.")
    min_size_px: SidePx = Field(32, description="A box whose shorter side is less shows too little.")
    min_hits: Hits = Field(3, description="An object that was seen in fewer detections may be none.")
    min_sharpness: Sharpness = Field(
        20.0, description="Variance of the Laplacian below which a crop counts as blurred; 0 takes all."
    )
    track_cooldown_s: Span = Field(30.0, description="A track that was asked about is left alone for so long.")
    camera_cooldown_s: Span = Field(0.0, description="Between two questions of a camera there is at least this.")
    audit_rate: Share = Field(
        0.02, description="The part of the confident detections that is asked about all the same, drawn at random."
    )
    always_analyze: Classes = Field((), description="Classes asked about however sure the detector is, and anywhere.")
    deny: Classes = Field((), description="Classes whose pixels never leave, nor inside the crops of others.")
    blur_others: bool = Field(
        default=False, description="Blur everything in a crop but its subject: the margin, and the boxes of others."
    )
    without_counterpart: bool = Field(
        default=False, description="Ask also about classes for which the cloud has no labels of its own."
    )
    settle_s: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = Field(
        1.0, description="So long the best crop of a track is looked for before it is decided about."
    )
    margin: Margin = Field(0.15, description="What is cut around a box, as a part of its longer side.")

    @model_validator(mode="after")
    def _band_is_not_empty(self) -> PolicySettings:
        if self.confidence_low > self.confidence_high:
            raise ValueError(
                f"confidence_low ({self.confidence_low:g}) must not be above confidence_high ({self.confidence_high:g})"
            )
        return self


class CameraEscalation(Settings):
    """What a camera has of its own; every key that is empty takes the run's."""

    enabled: bool | None = Field(None, description="false: nothing of this camera is ever sent.")
    shadow: bool | None = Field(None, description="true: only report what would have been sent.")
    confidence_low: Share | None = Field(None, description="See escalation.policy, as for all below.")
    confidence_high: Share | None = None
    classes: Classes | None = None
    zones: ZoneNames | None = None
    min_size_px: SidePx | None = None
    min_hits: Hits | None = None
    min_sharpness: Sharpness | None = None
    track_cooldown_s: Span | None = None
    camera_cooldown_s: Span | None = None
    audit_rate: Share | None = None
    always_analyze: Classes | None = None
    deny: Classes | None = None
    blur_others: bool | None = None
    without_counterpart: bool | None = None
    settle_s: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] | None = None
    margin: Margin | None = None


class BudgetSettings(Settings):
    """What may be spent, over any span of time and across restarts; empty: no limit."""

    requests_per_s: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] | None = Field(
        5.0, description="Requests a second."
    )
    bytes_per_s: Annotated[int, Field(ge=5000)] | None = Field(None, description="Bytes of requests a second.")
    bytes_per_hour: Annotated[int, Field(ge=10_000)] | None = Field(
        500_000_000, description="Bytes of requests an hour."
    )
    items_per_day: Annotated[int, Field(ge=1)] | None = Field(20_000, description="Answered crops a day.")
    in_flight: int = Field(2, ge=1, le=64, description="Requests under way at a time.")


class SpoolSettings(Settings):
    """Crops that wait for the cloud."""

    max_mb: int = Field(200, ge=1, le=1_000_000, description="Of what is more, the least valuable goes.")
    max_age_hours: float = Field(24.0, gt=0, le=10_000, allow_inf_nan=False, description="What is older goes.")


class ClientSettings(Settings):
    """How the cloud is spoken to."""

    connect_timeout_s: float = Field(3.0, ge=0.05, le=60, allow_inf_nan=False, description="Limit for connecting.")
    timeout_s: float = Field(10.0, ge=0.05, le=300, allow_inf_nan=False, description="Limit for a whole request.")
    batch: int = Field(8, ge=1, le=64, description="Crops in one request.")
    linger_s: float = Field(0.1, ge=0, le=10, allow_inf_nan=False, description="How long a crop waits for company.")
    tries: int = Field(5, ge=1, le=100, description="A crop that the cloud itself cannot take is given up after this.")
    failures: int = Field(
        5, ge=1, le=100, description="After so many failed requests in a row the cloud counts as away."
    )
    longest_pause_s: float = Field(
        60.0, ge=0.1, le=3600, allow_inf_nan=False, description="At least so often it is tried whether it is back."
    )
    ca_file: Path | None = Field(None, description="Certificates to trust instead of the system's, for https.")
    cert_file: Path | None = Field(None, description="The client's own certificate, for https.")
    key_file: Path | None = Field(None, description="Its key, unless that is in cert_file.")


class EscalationSettings(Settings):
    """Asking the cloud about what the edge is not sure of."""

    enabled: bool = Field(default=False, description="Look for what is worth asking about.")
    shadow: bool = Field(default=True, description="Only report what would have been sent; send nothing.")
    url: str = Field("", repr=False, description="The refiner: http(s)://HOST[:PORT][/PATH].")
    token: Secret | None = Field(None, description=f"What lets us in; empty takes ${TOKEN_VARIABLE}.")
    policy: PolicySettings = PolicySettings()
    budget: BudgetSettings = BudgetSettings()
    spool: SpoolSettings = SpoolSettings()
    client: ClientSettings = ClientSettings()
    crop_side_px: int = Field(320, ge=32, le=2048, description="Longer crops are made smaller to this side.")
    jpeg_quality: int = Field(85, ge=10, le=100, description="JPEG quality of the crops.")
    min_label_confidence: Share = Field(
        0.2, description="A less probable label is kept but not shown; one of another class needs 0.9 at least."
    )

    @model_validator(mode="after")
    def _there_is_somebody_to_ask(self) -> EscalationSettings:
        if self.enabled and not self.shadow and not self.url:
            raise ValueError("escalation needs a url, or shadow: true to report only")
        if self.url and (trouble := _trouble_with(self.url)):
            raise ValueError(f"url {trouble}")
        return self

    def token_in(self, environ: Mapping[str, str] = os.environ) -> str | None:
        """The token to send, None when there is none."""
        return self.token.get_secret_value() if self.token else environ.get(TOKEN_VARIABLE) or None

    def of_camera(self, own: CameraEscalation | None) -> CameraPolicy:
        """The policy of a camera: the run's, with what the camera has of its own.

        Raises UsageError where both together are no policy, as a band that is empty.
        """
        if own is None:
            return CameraPolicy(enabled=self.enabled, shadow=self.shadow, policy=self.policy)
        given = {key: value for key, value in own.model_dump().items() if value is not None}
        enabled, shadow = given.pop("enabled", True), given.pop("shadow", self.shadow)
        policy = build(PolicySettings, self.policy.model_dump() | given, origin="escalate")
        return CameraPolicy(enabled=self.enabled and enabled, shadow=shadow or not self.url, policy=policy)


class CameraPolicy(Settings):
    """What counts for one camera."""

    enabled: bool
    shadow: bool
    policy: PolicySettings


def is_in_the_open(url: str) -> bool:
    """Whether what is sent there can be read on the way: unencrypted, and not to this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "http" and host != "localhost" and not host.startswith("127.") and host != "::1"


def _trouble_with(url: str) -> str:
    """Why nothing can be sent there, without repeating any of it; empty when it can."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a valid address"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "must be http(s)://HOST[:PORT][/PATH]"
    if parts.username is not None or parts.query or parts.fragment:
        return "must hold no user, query or fragment; the token has a key of its own"
    return ""
