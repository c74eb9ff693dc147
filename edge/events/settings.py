"""What makes an event, and who is told."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from edge.zone_settings import ClassWord
from stream.config import Secret, Settings

MAX_WEBHOOKS = 20

_PORTS = {"http": 80, "https": 443}


class ChangeType(StrEnum):
    """What happened to an event."""

    NEW = "new"
    UPDATE = "update"
    END = "end"


class EventSettings(Settings):
    """When an object's appearance is an event, and what is kept of it."""

    enabled: bool = Field(default=True, description="Follow events and write events.jsonl.")
    classes: tuple[ClassWord, ...] = Field((), description="Names or numbers of the classes that count; empty: all.")
    zones: tuple[str, ...] = Field((), description="Only objects that entered one of these zones; empty: anywhere.")
    min_confidence: float = Field(
        0.5, ge=0, le=1, allow_inf_nan=False, description="An event begins once its object was seen as surely as this."
    )
    min_hits: int = Field(3, ge=1, le=100, description="And was seen in so many detections.")
    end_after_s: float = Field(
        3.0, ge=0.1, le=600, allow_inf_nan=False, description="It ends when the object was not seen for so long."
    )
    update_every_s: float = Field(
        5.0,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="Updates of an event come no closer than this; those about its zones come at once.",
    )
    stationary_after_s: float = Field(
        10.0, ge=1, le=3600, allow_inf_nan=False, description="An object that stays in its place for so long stands."
    )
    snapshots: bool = Field(default=True, description="Keep the best picture of every event.")
    snapshot_quality: int = Field(85, ge=10, le=100, description="JPEG quality of these pictures.")
    snapshots_keep_days: int = Field(
        30, ge=1, le=36_500, description="Older pictures of the same camera are deleted, whole days at a time."
    )


class WebhookSettings(Settings):
    """Somebody who is told of events by HTTP. The address counts as a secret: many carry their key in the path."""

    url: Secret = Field(description="Where changes are posted: http(s)://[USER:PASSWORD@]HOST[:PORT]/PATH.")
    name: str = Field("", max_length=100, description="What it is called in logs; without one, its host.")
    secret: Secret | None = Field(None, description="Key of the signature; without one, nothing is signed.")
    events: tuple[ChangeType, ...] = Field(
        tuple(ChangeType), min_length=1, description="Which changes are told: new, update, end."
    )
    timeout_s: float = Field(10.0, ge=0.1, le=120, allow_inf_nan=False, description="An answer must come within this.")
    ca_file: Path | None = Field(None, description="Certificates to trust instead of the system's, for https.")

    @property
    def shown(self) -> str:
        """What it is called where people can read it."""
        return self.name or urlsplit(self.url.get_secret_value()).hostname or "webhook"

    @model_validator(mode="after")
    def _url_can_be_posted_to(self) -> WebhookSettings:
        # checked on the section, for the error of a single field repeats its value
        if trouble := _trouble_with_url(self.url.get_secret_value()):
            raise ValueError(f"url {trouble}; give http(s)://HOST[:PORT]/PATH")
        return self


class MqttSettings(Settings):
    """A broker that is told of events, in the shape that Frigate's users know."""

    host: str = Field(min_length=1, max_length=253, description="The broker's name or address.")
    port: int | None = Field(None, ge=1, le=65_535, description="Its port; without one 1883, with TLS 8883.")
    user: str | None = Field(None, description="The user to log in as.")
    password: Secret | None = Field(None, description="The user's password.")
    topic_prefix: str = Field("videodisco", min_length=1, max_length=100, description="What all topics begin with.")
    client_id: str = Field("", max_length=100, description="The client's id; without one, a random one.")
    tls: bool = Field(default=False, description="Encrypt the connection.")
    ca_file: Path | None = Field(None, description="Certificates to trust instead of the system's, with TLS.")

    @property
    def actual_port(self) -> int:
        return self.port or (8883 if self.tls else 1883)

    @model_validator(mode="after")
    def _names_a_broker(self) -> MqttSettings:
        if any(sign in self.host for sign in "/@ "):
            raise ValueError("host is a name or address alone; give port, user and password by their own keys")
        if self.password is not None and self.user is None:
            raise ValueError("a password needs a user")
        if any(sign in self.topic_prefix for sign in "+#\0") or self.topic_prefix[0] in "$/":
            raise ValueError("topic_prefix must not begin with / or $, nor hold + or #")
        return self


def _trouble_with_url(url: str) -> str:
    """Why nothing can be posted there, without repeating any of it; empty when it can."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return "holds characters that must be percent-encoded"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a valid address"
    if parts.scheme not in _PORTS:
        return "does not begin with http:// or https://"
    if not parts.hostname or port == 0:
        return "names no host"
    return ""
