"""Still pictures that strangers send: what they are is read from the header before anything is decoded.

JPEG, PNG and WebP. Size, format and orientation are read here, in bounded time and memory; only what passes goes to
the decoder, which is then bounded by the picture's own size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from stream.errors import DecodeError
from stream.frame import NetworkView, Pixels
from stream.geometry import Letterbox

Format = Literal["jpeg", "png", "webp"]

LONGEST_SIDE_PX = 65_535
"""What JPEG can say at most; nothing real is longer, and scaling has to compute with it."""

MAX_SCANS = 100
"""A progressive JPEG has a dozen; a scan can be a few bytes long, and each is gone through in full."""

MAX_CHUNKS = 8000
"""Of a PNG or WebP; written in pieces of 8 KiB that is 64 MB."""

MAX_SEGMENTS = 1000
"""Of a JPEG before its pixels, filling bytes included; a profile of colours in pieces takes some dozens."""

PADDING_GREY = 114
"""The grey around a letterboxed picture, as detectors are trained with."""

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_ORIENTATION_TAG = 0x0112
# JPEG's start-of-frame markers; the four left out of the row mean other things.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE_MARKERS = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_LONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
# The scaled decoding that libjpeg offers costs a fraction: the flags for halves, quarters and eighths.
_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture says of itself. ``width`` and ``height`` are as stored; ``orientation`` is EXIF's 1 to 8."""

    format: Format
    width: int
    height: int
    orientation: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height once it is turned upright."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(data: bytes, *, max_pixels: int) -> Header:
    """What ``data`` says it is, without decoding any of it.

    Raises:
        DecodeError: it is no JPEG, PNG or WebP, is damaged where it says what it is, is animated, or is larger than
            ``max_pixels`` or longer than :data:`LONGEST_SIDE_PX`.
    """
    try:
        header = _header(data)
    except (IndexError, ValueError) as exc:
        raise DecodeError(f"the picture is damaged: {exc or 'it ends early'}") from exc
    width, height = header.width, header.height
    if width < 1 or height < 1:
        raise DecodeError("the picture is damaged: it has no size")
    if max(width, height) > LONGEST_SIDE_PX or width * height > max_pixels:
        raise DecodeError(
            f"the picture has {width}x{height} pixels; at most {max_pixels / 1e6:g} million are taken, "
            f"and {LONGEST_SIDE_PX} a side"
        )
    return header


def decode(data: bytes, header: Header, *, at_least: tuple[int, int] | None = None) -> Pixels:
    """The whole upright picture, uint8 ``(height, width, 3)`` BGR.

    A large JPEG may come at a half, quarter or eighth of its size, if its width and height are ``at_least`` these then.
    Raises DecodeError.
    """
    least = at_least or (LONGEST_SIDE_PX, LONGEST_SIDE_PX)
    stored = least[::-1] if header.orientation >= 5 else least
    return np.ascontiguousarray(_upright(_decoded(data, header, at_least=stored), header.orientation))


def for_network(data: bytes, header: Header, view: NetworkView) -> tuple[Pixels, Letterbox]:
    """The picture as a detector wants it: uint8 ``(view.height, view.width, 3)``, and how it lies in there.

    A large JPEG is decoded at a fraction of its size, never below the size that is wanted. Raises DecodeError.
    """
    box = Letterbox.fit(*header.upright_size, view.width, view.height, view.placement)
    inner = (box.inner_width, box.inner_height)
    stored = inner[::-1] if header.orientation >= 5 else inner
    pixels = _decoded(data, header, at_least=stored)
    # Below a half, bilinear sampling still meets every pixel, at a tenth of the cost of averaging areas.
    coarse = pixels.shape[1] >= 2 * stored[0] or pixels.shape[0] >= 2 * stored[1]
    scaled = cv2.resize(pixels, stored, interpolation=cv2.INTER_AREA if coarse else cv2.INTER_LINEAR)
    upright = _upright(np.asarray(scaled, np.uint8), header.orientation)
    if view.rgb:
        upright = upright[:, :, ::-1]
    if inner == (view.width, view.height):
        return np.ascontiguousarray(upright), box
    canvas = np.full((view.height, view.width, 3), PADDING_GREY, np.uint8)
    canvas[box.top : box.top + box.inner_height, box.left : box.left + box.inner_width] = upright
    return canvas, box


def _header(data: bytes) -> Header:
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(_PNG_MAGIC):
        return _png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    raise DecodeError("this is no JPEG, PNG or WebP picture")


def _decoded(data: bytes, header: Header, *, at_least: tuple[int, int]) -> Pixels:
    """BGR as stored; a JPEG by the largest divisor that leaves ``at_least`` this (width, height)."""
    divisor = next((by for by in _REDUCED if _still_covers(header, by, at_least)), 1)
    flags = _REDUCED.get(divisor, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    if header.format == "png":
        data = _bare_png(data)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as exc:
        raise DecodeError("the picture is damaged: it cannot be decoded") from exc
    expected = (-(-header.height // divisor), -(-header.width // divisor), 3)
    if pixels is None or pixels.shape != expected:
        raise DecodeError("the picture is damaged: it cannot be decoded")
    return np.asarray(pixels, np.uint8)


def _still_covers(header: Header, divisor: int, at_least: tuple[int, int]) -> bool:
    return (
        header.format == "jpeg" and header.width // divisor >= at_least[0] and header.height // divisor >= at_least[1]
    )


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """A view of ``pixels`` turned and mirrored as EXIF's ``orientation`` says."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return np.rot90(pixels, 2).swapaxes(0, 1)
        case 8:
            return np.rot90(pixels)
    return pixels


# JPEG


def _jpeg(data: bytes) -> Header:
    orientation, size, progressive = 1, None, False
    for marker, begin, end in _segments(data):
        if marker in _FRAME_MARKERS:
            progressive = marker in _PROGRESSIVE_MARKERS
            size = _number(data, begin + 3, 2), _number(data, begin + 1, 2)
        elif marker == 0xE1 and orientation == 1 and data[begin : begin + 6] == b"Exif\0\0":
            orientation = _orientation(data[begin + 6 : end])
    if size is None:
        raise ValueError("it does not say how large it is")
    if progressive and data.count(b"\xff\xda") > MAX_SCANS:
        raise ValueError("it is cut into too many scans")
    return Header("jpeg", *size, orientation)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end of the content of each segment before the pixels."""
    position = 2
    for _ in range(MAX_SEGMENTS):
        if data[position] != 0xFF:
            raise ValueError("a marker is missing")
        marker = data[position + 1]
        position += 1 if marker == 0xFF else 2
        if marker in {0xDA, 0xD9}:
            return
        if marker == 0xFF or marker in _LONE_MARKERS:
            continue
        length = _number(data, position, 2)
        if length < 2 or position + length > len(data):
            raise ValueError("a segment is longer than the file")
        yield marker, position + 2, position + length
        position += length
    raise ValueError("it is cut into too many segments")


# PNG


def _png(data: bytes) -> Header:
    chunks = _chunks(data, 8, "big", extra=4)
    kind, begin, length = next(chunks, (b"", 0, 0))
    if kind != b"IHDR" or length != 13:
        raise ValueError("it does not say how large it is")
    width, height = _number(data, begin, 4), _number(data, begin + 4, 4)
    orientation = 1
    for kind, begin, length in chunks:
        if kind == b"eXIf":
            orientation = _orientation(data[begin : begin + length])
        elif kind == b"acTL" and _number(data, begin, 4) > 1:
            raise ValueError("it is animated; send a single picture")
    return Header("png", width, height, orientation)


def _bare_png(data: bytes) -> bytes:
    """The picture alone: without profiles, texts and more frames, in which other things could be packed."""
    parts = [
        data[begin - 8 : begin + length + 4]
        for kind, begin, length in _chunks(data, 8, "big", extra=4)
        if kind in _PIXEL_CHUNKS
    ]
    return _PNG_MAGIC + b"".join(parts)


def _chunks(
    data: bytes, position: int, order: Literal["big", "little"], *, extra: int
) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and length of all chunks; ``extra`` bytes follow each (PNG's checksum)."""
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            return
        if order == "big":
            length, kind = _number(data, position, 4), data[position + 4 : position + 8]
        else:
            kind, length = data[position : position + 4], _number(data, position + 4, 4, "little")
        if position + 8 + length > len(data):
            # OpenCV makes room for what a chunk claims to hold before it looks whether that is there.
            raise ValueError("it ends early")
        yield kind, position + 8, length
        position += 8 + length + extra + (length & 1 if order == "little" else 0)
    raise ValueError("it is cut into too many pieces")


# WebP


def _webp(data: bytes) -> Header:
    sizes, orientation = [], 1
    for kind, begin, length in _chunks(data, 12, "little", extra=0):
        content = data[begin : begin + length]
        if kind in {b"VP8 ", b"VP8L", b"VP8X"}:
            sizes.append(_webp_size(kind, content))
        elif kind == b"EXIF":
            orientation = _orientation(content.removeprefix(b"Exif\0\0"))
        elif kind in {b"ANIM", b"ANMF"}:
            raise ValueError("it is animated; send a single picture")
    if not sizes or len(set(sizes)) > 1:
        raise ValueError("it does not say how large it is")
    return Header("webp", *sizes[0], orientation)


def _webp_size(kind: bytes, content: bytes) -> tuple[int, int]:
    if kind == b"VP8X":
        return _number(content, 4, 3, "little") + 1, _number(content, 7, 3, "little") + 1
    if kind == b"VP8L":
        bits = _number(content, 1, 4, "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _number(content, 6, 2, "little") & 0x3FFF, _number(content, 8, 2, "little") & 0x3FFF


# EXIF


def _orientation(tiff: bytes) -> int:
    """The orientation that an EXIF block states; 1 where it states none, or is damaged."""
    order: Literal["big", "little"] = "little" if tiff[:2] == b"II" else "big"
    try:
        directory = _number(tiff, 4, 4, order)
        for entry in range(min(_number(tiff, directory, 2, order), 512)):
            at = directory + 2 + 12 * entry
            if _number(tiff, at, 2, order) == _ORIENTATION_TAG:
                value = _number(tiff, at + 8, 2, order)
                return value if 1 <= value <= 8 else 1
    except IndexError:
        return 1
    return 1


def _number(data: bytes, at: int, length: int, order: Literal["big", "little"] = "big") -> int:
    """Raises IndexError where ``data`` ends before it."""
    if at + length > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + length], order)
