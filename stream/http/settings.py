"""Where a service listens, whom it lets in, and how much it takes."""

from __future__ import annotations

import hashlib
import ipaddress
from enum import StrEnum
from pathlib import Path

from pydantic import Field, model_validator

from stream.config import Secret, Settings
from stream.errors import UsageError

MIN_TOKEN_LENGTH = 16
"""Shorter ones can be guessed; `openssl rand -hex 24` makes a good one."""

MIB = 1 << 20
KIB = 1 << 10


class Role(StrEnum):
    """What somebody may do; each role includes those before it."""

    VIEW = "view"
    OPERATE = "operate"
    ADMIN = "admin"

    def allows(self, needed: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


class TokenSettings(Settings):
    """Somebody who may come in. Give the token itself or, so that the file holds no secret, its SHA-256."""

    name: str = Field(min_length=1, max_length=100, description="Who it is, in the audit log.")
    token: Secret | None = Field(None, description="The token; best as ${NAME} of the environment.")
    token_sha256: str | None = Field(
        None, pattern="^[0-9a-fA-F]{64}$", description="Instead of the token: its SHA-256 in hexadecimal."
    )
    role: Role = Field(Role.VIEW, description="view looks; operate also changes what runs; admin also the settings.")

    @model_validator(mode="after")
    def _is_one_good_token(self) -> TokenSettings:
        if (self.token is None) == (self.token_sha256 is None):
            raise ValueError("give either token or token_sha256")
        if self.token is not None and len(self.token.get_secret_value()) < MIN_TOKEN_LENGTH:
            raise ValueError(f"a token needs at least {MIN_TOKEN_LENGTH} characters; 'openssl rand -hex 24' makes one")
        return self

    @property
    def digest(self) -> bytes:
        """SHA-256 of the token."""
        if self.token is None:
            return bytes.fromhex(self.token_sha256 or "")
        return hashlib.sha256(self.token.get_secret_value().encode()).digest()


class TlsSettings(Settings):
    """HTTPS. The files are read again when they change; a restart is not needed."""

    certificate: Path = Field(description="PEM file: the certificate and what signed it.")
    key: Path = Field(description="PEM file: its private key.")
    key_password: Secret | None = Field(None, description="Password of the key, if it has one.")
    client_ca: Path | None = Field(
        None, description="PEM file: clients must show a certificate signed by one of these."
    )
    client_role: Role = Field(
        Role.OPERATE, description="What a client with such a certificate may do when there are no tokens."
    )


class LimitSettings(Settings):
    """How much one client and all together may ask for. What is refused is counted by cause in /metrics."""

    body_mb: float = Field(16, gt=0, le=4096, allow_inf_nan=False, description="Largest body of a request, in MiB.")
    parts: int = Field(64, ge=1, le=10_000, description="Parts of a multipart body.")
    header_kb: float = Field(
        8, ge=1, le=1024, allow_inf_nan=False, description="Longest request line or header, in KiB."
    )
    headers: int = Field(100, ge=8, le=10_000, description="Headers of a request.")
    head_timeout_s: float = Field(
        10,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="A request's head (and the TLS handshake) takes at most this.",
    )
    body_timeout_s: float = Field(
        30, gt=0, le=3600, allow_inf_nan=False, description="A request's body takes at most this."
    )
    send_timeout_s: float = Field(
        20,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="Readers that take less than about 64 KiB in this time are left.",
    )
    idle_s: float = Field(
        60, gt=0, le=86_400, allow_inf_nan=False, description="A connection without a request is closed after this."
    )
    sockets: int = Field(
        512, ge=1, le=100_000, description="Open connections; when there are more, the one idle longest gives way."
    )
    sockets_per_client: int = Field(128, ge=1, le=100_000, description="Open connections of one client.")
    requests_per_minute: int = Field(
        6000, ge=0, le=10_000_000, description="Requests of one client in a minute; 0: any number."
    )
    failed_logins_per_minute: int = Field(
        10, ge=1, le=10_000, description="After so many wrong tokens a client has to wait."
    )
    uploads: int = Field(
        256, ge=1, le=10_000, description="Bodies that are received at once; never more than half of sockets."
    )
    uploads_mb: float = Field(
        256, gt=0, le=1_000_000, allow_inf_nan=False, description="And in MiB, together; one body always fits."
    )

    @property
    def body_bytes(self) -> int:
        return int(self.body_mb * MIB)

    @property
    def uploads_bytes(self) -> int:
        return int(self.uploads_mb * MIB)

    @property
    def header_bytes(self) -> int:
        return int(self.header_kb * KIB)


class HttpSettings(Settings):
    """The service's door. A service with another port says so in a subclass."""

    host: str = Field("127.0.0.1", min_length=1, max_length=253, description="Address to listen on; 0.0.0.0: all.")
    port: int = Field(8080, ge=0, le=65_535, description="Port to listen on; 0: a free one.")
    insecure: bool = Field(default=False, description="Listen for others than this machine without any token.")
    tokens: tuple[TokenSettings, ...] = Field((), description="Who may come in; without one, whoever reaches it.")
    tls: TlsSettings | None = Field(None, description="Certificate and key, for HTTPS.")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Names this service is called by, besides localhost and plain addresses."
    )
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = Field(
        (), description="Reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."
    )
    session_hours: float = Field(
        12, gt=0, le=8760, allow_inf_nan=False, description="A browser has to log in again after this."
    )
    open_metrics: bool = Field(default=False, description="Show /metrics to whoever asks.")
    audit_log: Path | None = Field(None, description="File that records every change: who, what, when, result.")
    limits: LimitSettings = LimitSettings()

    @property
    def login_needed(self) -> bool:
        """Whether anybody has to say who he is."""
        return bool(self.tokens) or (self.tls is not None and self.tls.client_ca is not None)

    @model_validator(mode="after")
    def _tokens_differ(self) -> HttpSettings:
        if len({token.digest for token in self.tokens}) < len(self.tokens):
            raise ValueError("two tokens are the same; give everybody his own")
        return self


def is_loopback(host: str) -> bool:
    """Whether ``host`` (a name or an address) can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def require_closed_door(settings: HttpSettings) -> None:
    """Refuse to listen for others without asking who they are.

    Raises:
        UsageError: listening beyond loopback with neither tokens nor client certificates, and not ``insecure``.
    """
    if is_loopback(settings.host) or settings.login_needed or settings.insecure:
        return
    raise UsageError(
        f"listening on {settings.host} lets in whoever reaches it: set tokens (or tls with client_ca), "
        "listen on 127.0.0.1, or say insecure"
    )
