"""The one gate to a model file: by name or path, checked, and admitted by the trust policies.

Whatever loads a model takes a :class:`ModelFile`, and only :func:`find` makes one. It stands for the very bytes that
were checked: :func:`content_of` gives out no others.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.files import MAX_BYTES as MAX_BYTES
from models.files import complete, read, read_checked
from models.guard import Survey
from models.shelf import store
from models.shelf.upstream import whereabouts
from models.trust.policy import ANY_MODEL, Offer, TrustSettings, admit, read_signature
from models.trust.signing import WHOLE
from stream.errors import ModelError

BUNDLED = Path(__file__).parent / "bundled"
AUTO = "auto"
SHELF, FILE = "shelf", "file"
FLOAT = "nanodet-g-416"
INT8 = "nanodet-g-416-int8"

_log = logging.getLogger(__name__)

# What the processor calls the instructions that multiply 8-bit integers four at a time.
_INT8_FLAGS = {
    "avx512_vnni": "AVX512-VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx_vnni_int8": "AVX-VNNI-INT8",
    "amx_int8": "AMX",
    "asimddp": "the dot product of Arm",
    "i8mm": "the matrix product of Arm",
}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file that was looked at, hashed and admitted. Made by :func:`find` alone.

    ``sha256`` is that of all its content, with the weights of the files named in ``external`` inside. ``signer`` is the
    trusted key that signed it, empty where none did. ``card`` describes a model that is bundled or on the shelf.
    """

    name: str
    version: str
    path: Path
    sha256: str
    card: Mapping[str, Any] | None = None
    signer: str = ""
    external: tuple[str, ...] = ()


def bundled_names() -> list[str]:
    return sorted(card.stem for card in BUNDLED.glob("*.json"))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that was found and is what its card says, but that nobody has admitted: it can be shown, not loaded."""

    name: str
    where: str
    path: Path
    content: bytes
    sha256: str
    offers: tuple[Offer, ...]
    card: Mapping[str, Any] | None = None
    survey: Survey | None = None


def find(name_or_path: str, trust: TrustSettings = ANY_MODEL) -> ModelFile:
    """The model of this name, bundled or on the shelf, ``auto`` for the bundled one that suits this processor, or the
    file at this path. Bundled names win over those of the shelf, and names over files; ``./NAME`` is always a file.

    Raises:
        ModelError: there is none, it is no ONNX file or a dangerous one, not the one its card or manifest describes,
            or not signed as ``trust`` or this machine's own policy requires.
    """
    found = look_up(name_or_path)
    label = str(found.path) if found.where == FILE else f"the model {found.name}"
    signer = admit(label, found.offers, trust)
    version = str(found.card["version"]) if found.card else ""
    external = found.survey.external if found.survey else ()
    return ModelFile(found.name, version, found.path, found.sha256, found.card, signer, external)


def look_up(name_or_path: str) -> Candidate:
    """As :func:`find`, but whoever signed it or did not.

    Raises:
        ModelError: as there, but for signatures.
    """
    name = default_build()[0] if name_or_path == AUTO else name_or_path
    if name in bundled_names():
        return _bundled(name)
    if store.has(name):
        if Path(name).is_file():
            _log.warning("%s is taken from the shelf; for the file in this folder say ./%s", name, name)
        return _shelved(name)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        raise ModelError(f"{path} is a folder, not a model file: name the .onnx file in it")
    if not path.is_file():
        if way := whereabouts(name):
            raise ModelError(f"the model {name!r} {way}")
        known = ", ".join([AUTO, *bundled_names()])
        shelved = f"; on the shelf are {', '.join(store.names())}" if store.names() else ""
        raise ModelError(
            f"there is no model {name_or_path!r}: bundled are {known}{shelved}; a path to an .onnx file works too"
        )
    return _loose(path)


def content_of(model: ModelFile) -> bytes:
    """The bytes that were admitted: the file may have been replaced since.

    Raises:
        ModelError: it was, or cannot be read any more.
    """
    content = complete(read(model.path), model.path, model.external)
    if hashlib.sha256(content).hexdigest() != model.sha256:
        raise ModelError(f"{model.path} changed while it was being loaded: start again")
    return content


def default_build(flags: Collection[str] | None = None) -> tuple[str, str]:
    """Which bundled build is the faster one on a processor with these flags (None: this one), and why."""
    flags = cpu_flags() if flags is None else flags
    for flag, instructions in _INT8_FLAGS.items():
        if flag in flags:
            return INT8, f"{INT8}, because this processor has {instructions} and computes faster in 8-bit integers"
    return FLOAT, f"{FLOAT}, because this processor shows no instructions that make 8-bit integers faster"


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The instruction sets the kernel lists; empty where it lists none."""
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        # macOS has no such file; every Apple processor has the dot product.
        return frozenset({"asimddp"}) if (platform.system(), platform.machine()) == ("Darwin", "arm64") else frozenset()
    fields = (line.partition(":") for line in lines)
    return next(
        (frozenset(text.split()) for key, _, text in fields if key.strip() in ("flags", "Features")), frozenset()
    )


def _bundled(name: str) -> Candidate:
    card_path = BUNDLED / f"{name}.json"
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        path, expected, _ = BUNDLED / card["file"], card["sha256"], card["version"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ModelError(f"the card {card_path} of a bundled model cannot be read: reinstall VideoDisco") from exc
    content = read(path)
    seen = hashlib.sha256(content).hexdigest()
    if seen != expected:
        raise ModelError(f"{path} is not the bundled file: its sha256 is {seen}, its card says {expected}; reinstall")
    return Candidate(name, "bundled", path, content, seen, tuple(store.offers(seen, content)), card)


def _shelved(name: str) -> Candidate:
    shelved = store.take(name)
    card = shelved.manifest.model_dump(mode="json")
    return Candidate(name, SHELF, shelved.path, shelved.content, card["sha256"], tuple(shelved.offers()), card)


def _loose(path: Path) -> Candidate:
    checked = read_checked(path)
    content = checked.content
    sha256 = hashlib.sha256(content).hexdigest()
    beside = read_signature(path.with_name(f"{path.name}.sig"))
    offers = store.offers(sha256, content) + ([Offer(beside, {WHOLE: content})] if beside else [])
    return Candidate(path.stem, FILE, path, content, sha256, tuple(offers), None, checked.survey)
