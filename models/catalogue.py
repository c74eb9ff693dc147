"""Finding a model file: one of the bundled ones by name, or the user's own by path."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.errors import ModelError

BUNDLED = Path(__file__).parent / "bundled"
AUTO = "auto"
FLOAT = "nanodet-g-416"
INT8 = "nanodet-g-416-int8"

# A model of any detector family is far smaller; a video passed by mistake is not.
MAX_BYTES = 2 << 30
# Protobuf writes fields in order, and an ONNX file's first is its version: field 1, a number.
_FIRST_BYTE = 0x08
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
    """A file that was looked at and hashed. ``card`` describes it if it is a bundled one."""

    name: str
    version: str
    path: Path
    sha256: str
    card: Mapping[str, Any] | None = None


def bundled_names() -> list[str]:
    return sorted(card.stem for card in BUNDLED.glob("*.json"))


def find(name_or_path: str) -> ModelFile:
    """The model of this bundled name, ``auto`` for the one that suits this processor, or the file at this path.

    Raises:
        ModelError: there is none, it is no ONNX file, or a bundled file is not the one its card describes.
    """
    name = default_build()[0] if name_or_path == AUTO else name_or_path
    if name in bundled_names():
        return _bundled(name)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        raise ModelError(f"{path} is a folder, not a model file: name the .onnx file in it")
    if not path.is_file():
        known = ", ".join([AUTO, *bundled_names()])
        raise ModelError(f"there is no model {name_or_path!r}: bundled are {known}; a path to an .onnx file works too")
    content = _read(path)
    return ModelFile(path.stem, "", path, hashlib.sha256(content).hexdigest())


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


def _bundled(name: str) -> ModelFile:
    card_path = BUNDLED / f"{name}.json"
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        path, expected = BUNDLED / card["file"], card["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ModelError(f"the card {card_path} of a bundled model cannot be read: reinstall VideoDisco") from exc
    seen = hashlib.sha256(_read(path)).hexdigest()
    if seen != expected:
        raise ModelError(f"{path} is not the bundled file: its sha256 is {seen}, its card says {expected}; reinstall")
    return ModelFile(name, str(card["version"]), path, seen, card)


def _read(path: Path) -> bytes:
    """The file's content if it may be an ONNX model at all."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(f"{path} has {size} bytes: too large to be a detection model")
        content = path.read_bytes()
    except OSError as exc:
        raise ModelError(f"{path} cannot be read: {exc.strerror}") from exc
    if not content:
        raise ModelError(f"{path} is empty: the download or copy may have failed")
    if content[0] != _FIRST_BYTE:
        raise ModelError(f"{path} is not an ONNX file but {_what_it_is(content)}: export the model to ONNX first")
    return content


def _what_it_is(content: bytes) -> str:
    if content.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return "a Python pickle"
    if content.startswith(b"PK\x03\x04"):
        return "a zip archive, such as PyTorch's .pt"
    if content[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    head = content[:512]
    return "a text file" if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head) else "something else"
