"""Checking and signing models by name: bundled ones, those of the shelf, and files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.catalogue import SHELF, look_up
from models.shelf import store
from models.shelf.cards import signature_of
from models.trust.policy import machine_policy, signers_of
from models.trust.signing import WHOLE, sign
from stream.errors import ModelError


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of checking one model."""

    name: str
    holds: bool
    words: str


def check_model(name_or_path: str, keys: Sequence[Path]) -> Checked:
    """Whether a model is what its card says, and signed by one of ``keys``, or without keys as this machine asks.

    Raises:
        ModelError: a key cannot be read, or signatures cannot be checked here.
    """
    policy = machine_policy()
    wanted = tuple(keys) or policy.trusted_keys
    signers_of((), wanted)  # a key that cannot be read is no matter of this model's
    try:
        found = look_up(name_or_path)
    except ModelError as exc:
        return Checked(name_or_path, holds=False, words=str(exc))
    signature = signature_of(found, wanted)
    required = bool(keys) or policy.require_signature
    if required and not (found.offers and signers_of(found.offers, wanted)[0]):
        asked = ", ".join(key.name for key in wanted)
        return Checked(name_or_path, holds=False, words=f"not signed as required ({asked}); its signature: {signature}")
    return Checked(name_or_path, holds=True, words=f"intact, sha256 {found.sha256[:16]}..., signature: {signature}")


def sign_model(name_or_path: str, key: Path, password: Callable[[], str]) -> Path:
    """Sign a model and keep the signature; says where.

    Raises:
        ModelError: there is no such model, or the key is none to sign with.
        OutputError: the signature cannot be written.
    """
    found = look_up(name_or_path)
    if found.where != SHELF:
        return store.put_loose_signature(found.sha256, sign({WHOLE: found.content}, key, password))
    shelved = store.take(found.name)
    return store.put_signature(shelved, sign(shelved.files(), key, password))
