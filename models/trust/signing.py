"""OpenSSF model signatures with a key of one's own, made and checked without a network.

A signature is over a model file, or over a folder of the shelf: the model with its manifest. What is signed and checked
is always a private copy of bytes already in memory, never files that may change in between. The signatures are those of
the package ``model-signing``: its own command verifies them too. It takes half a second to import, so it waits.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stream.errors import ModelError

WHOLE = "."
"""The name under which a signature of one file, rather than of a folder, knows it."""

MAX_SIGNATURE_BYTES = 1 << 20

Files = Mapping[str, bytes]


class SignatureError(ModelError):
    """A signature that does not hold; says in a few words why."""


def sign(files: Files, private_key: Path, password: Callable[[], str] | None = None) -> bytes:
    """A signature over the files, in the form of a Sigstore bundle. ``password`` is asked if the key is locked.

    Raises:
        ModelError: the key cannot be read or is not a private key on one of the curves that signatures use.
    """
    signing = _library("signing")
    locked = _is_locked(private_key)
    secret = password().encode() if locked and password else None
    with tempfile.TemporaryDirectory(prefix="videodisco-sign-") as folder:
        signature = Path(folder) / "signature"
        try:
            signer = signing.Config().use_elliptic_key_signer(private_key=private_key, password=secret)
            signer.sign(_lay_out(files, Path(folder)), signature)
            return signature.read_bytes()
        except (ValueError, TypeError, AttributeError) as exc:
            problem = "its password is wrong, or it" if locked else "it"
            wanted = "no private key in PEM form on the curve P-256, P-384 or P-521"
            raise ModelError(f"{private_key} cannot be signed with: {problem} is {wanted}") from exc


def check(files: Files, signature: bytes, public_key: Path) -> None:
    """That the signature is by this key and over exactly these files.

    Raises:
        SignatureError: it is not.
        ModelError: the key cannot be read, or signatures cannot be checked here.
    """
    verifying = _library("verifying")
    from cryptography.exceptions import InvalidSignature

    with tempfile.TemporaryDirectory(prefix="videodisco-verify-") as folder:
        bundle = Path(folder) / "signature"
        bundle.write_bytes(signature)
        try:
            verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
            verifier.verify(_lay_out(files, Path(folder)), bundle)
        except InvalidSignature as exc:
            raise SignatureError("the signature is not by this key, or was changed") from exc
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as exc:
            raise SignatureError(f"the signature does not fit: {str(exc)[:200]}") from exc
    # A statement may tell its checker to pass over files: what it names must be what there is.
    if _named(signature) != {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}:
        raise SignatureError("the signature is not over all of the files, by SHA-256")


def key_hint(signature: bytes) -> str:
    """The fingerprint of the key that a signature says it is by, empty where it says none. Nothing is checked."""
    try:
        hint = json.loads(signature)["verificationMaterial"]["publicKey"]["hint"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return hint if isinstance(hint, str) else ""


def can_be_read(signature: bytes) -> bool:
    """Whether it is a signature at all, whoever made it and whatever it is worth."""
    try:
        _named(signature)
    except SignatureError:
        return False
    return True


def fingerprint(public_key: Path) -> str:
    """SHA-256 of a public key in PEM form, as signatures name it.

    Raises:
        ModelError: it cannot be read or is no public key.
    """
    serialization = _serialization()
    content = read_key(public_key)
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, TypeError) as exc:
        more = ": it is a private key, keep it secret" if b"PRIVATE KEY" in content else ""
        raise ModelError(f"{public_key} is no public key in PEM form{more}") from exc
    form, encoding = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.Encoding.PEM
    return hashlib.sha256(key.public_bytes(encoding, form)).hexdigest()


def read_key(path: Path) -> bytes:
    """A key file's content.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_SIGNATURE_BYTES)
    except OSError as exc:
        raise ModelError(f"the key {path} cannot be read: {exc.strerror}") from exc


def _is_locked(private_key: Path) -> bool:
    return b"ENCRYPTED" in read_key(private_key)


def _lay_out(files: Files, folder: Path) -> Path:
    """A private copy of the files, and the path that stands for all of them."""
    place = folder / "model"
    if set(files) == {WHOLE}:
        place.write_bytes(files[WHOLE])
        return place
    place.mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content)
    return place


def _named(signature: bytes) -> dict[str, str]:
    """The files and SHA-256 digests that a signature's statement names."""
    try:
        statement = json.loads(base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"]))
        resources = statement["predicate"]["resources"]
        return {entry["name"]: entry["digest"] for entry in resources if entry["algorithm"] == "sha256"}
    except (ValueError, LookupError, TypeError, RecursionError) as exc:
        raise SignatureError("the signature's statement cannot be read") from exc


def _library(part: str) -> Any:
    try:
        from model_signing import signing, verifying
    except ImportError as exc:
        raise ModelError(
            "signatures are made and checked by packages that are not installed: pip install 'videodisco[signing]'"
        ) from exc
    return {"signing": signing, "verifying": verifying}[part]


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as exc:
        raise ModelError("keys are read by packages that are not installed: pip install 'videodisco[signing]'") from exc
    return serialization
