"""Whose models are run: the keys that are trusted, and whether a signature by one of them is required.

Two policies count, both: the one of the run's configuration and the one of this machine's ``trust.yaml`` in
``$VIDEODISCO_HOME``. What either requires must hold.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator

from models.trust.signing import MAX_SIGNATURE_BYTES, Files, SignatureError, check, fingerprint, key_hint
from stream.config import Settings, build, load_yaml
from stream.errors import ModelError, OutputError
from stream.home import home

_log = logging.getLogger(__name__)

MAX_SIGNATURES = 32
"""Of one model; more would only be there to keep us busy."""


class TrustSettings(Settings):
    """Which models may be loaded."""

    require_signature: bool = Field(
        default=False, description="Load only models that are signed by one of the trusted keys."
    )
    trusted_keys: tuple[Path, ...] = Field(
        (), max_length=100, description="Public keys in PEM form, as `openssl ec -pubout` writes them."
    )

    @model_validator(mode="after")
    def _somebody_is_trusted(self) -> TrustSettings:
        if self.require_signature and not self.trusted_keys:
            raise ValueError("require_signature needs trusted_keys: without one, no model could be loaded")
        return self


ANY_MODEL = TrustSettings()
"""Asks for nothing; this machine's own policy still counts."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A signature found for a model, and the files it should be over."""

    signature: bytes
    files: Files


@dataclass(frozen=True, slots=True)
class Key:
    """A trusted key as it is named in cards and records."""

    path: Path
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.path.name} sha256:{self.fingerprint[:16]}"


def machine_policy() -> TrustSettings:
    """What ``trust.yaml`` in the home says; keys without a leading slash lie beside it.

    Raises:
        UsageError: it cannot be read or says something else.
    """
    try:
        file = home() / "trust.yaml"
    except OutputError:
        return ANY_MODEL  # a home that cannot even be made holds no policy
    if not file.exists():
        return ANY_MODEL
    settings = build(TrustSettings, load_yaml(file), origin=str(file))
    keys = tuple(file.parent / key.expanduser() for key in settings.trusted_keys)
    return settings.model_copy(update={"trusted_keys": keys})


def admit(model: str, offers: Sequence[Offer], trust: TrustSettings) -> str:
    """Who signed the model, of the keys that are trusted; empty if none of them did and none needs to.

    Raises:
        ModelError: a signature is required, and there is none that holds.
    """
    policies = (trust, machine_policy())
    signers, reasons = _signers(offers, _keys(policies))
    for policy in policies:
        wanted = {fingerprint(key.expanduser()) for key in policy.trusted_keys} if policy.require_signature else None
        if wanted is not None and not any(key.fingerprint in wanted for key in signers):
            raise ModelError(f"{model} is refused: {_refusal(offers, reasons, policy)}")
    for reason in reasons:
        _log.warning("%s: %s", model, reason)
    return str(signers[0]) if signers else ""


def signature_files(folder: Path) -> list[bytes]:
    """The signatures that lie in a folder; one that cannot be read is none."""
    found = sorted(folder.glob("*.sig"))[:MAX_SIGNATURES]
    return [content for content in map(read_signature, found) if content]


def read_signature(path: Path) -> bytes:
    """A signature file's content, empty where there is none."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SIGNATURE_BYTES + 1)
    except OSError:
        return b""
    return content if len(content) <= MAX_SIGNATURE_BYTES else b""


def signers_of(offers: Sequence[Offer], keys: Iterable[Path]) -> tuple[list[Key], list[str]]:
    """Which of the public keys signed, and why signatures that name one of them do not hold.

    Raises:
        ModelError: a key cannot be read.
    """
    return _signers(offers, [Key(key, fingerprint(key)) for key in keys])


def _keys(policies: Iterable[TrustSettings]) -> list[Key]:
    paths = [key.expanduser() for policy in policies for key in policy.trusted_keys]
    return [Key(path, fingerprint(path)) for path in dict.fromkeys(paths)]


def _signers(offers: Sequence[Offer], keys: Sequence[Key]) -> tuple[list[Key], list[str]]:
    signers: list[Key] = []
    reasons: list[str] = []
    for offer in offers:
        hint = key_hint(offer.signature)
        for key in keys:
            if hint and hint != key.fingerprint:
                continue
            try:
                check(offer.files, offer.signature, key.path)
                signers.append(key)
            except SignatureError as exc:
                reasons.append(str(exc))
    return signers, reasons


def _refusal(offers: Sequence[Offer], reasons: Sequence[str], policy: TrustSettings) -> str:
    if reasons:
        return f"a signature is required, and {reasons[0]}"
    keys = ", ".join(key.name for key in policy.trusted_keys[:3])
    if offers:
        return f"it is signed, but not by a trusted key ({keys})"
    return f"a signature by a trusted key ({keys}) is required and it has none; see videodisco models sign"
