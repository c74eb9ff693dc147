"""Pictures of strangers: read from their headers, decoded upright, refused when damaged or too large.

Pillow, which is no part of the product's code, says what is right.
"""

from __future__ import annotations

import io
import random
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from stream.errors import DecodeError
from stream.frame import NetworkView
from stream.images import MAX_SCANS, Header, decode, for_network, read_header
from tests.spoiling import spoilt

FORMATS = ("jpeg", "png", "webp")
MANY = 50_000_000


def scene(width: int = 160, height: int = 96) -> NDArray[np.uint8]:
    """BGR: a smooth picture with each corner in a colour of its own, so that every turn shows."""
    rows, columns = np.mgrid[0:height, 0:width]
    picture = np.stack([columns * 255 // width, rows * 255 // height, np.full_like(rows, 90)], axis=-1)
    picture[: height // 4, : width // 4] = (0, 0, 255)
    picture[-height // 4 :, : width // 4] = (0, 255, 0)
    return picture.astype(np.uint8)


def encoded(format_name: str, picture: NDArray[np.uint8] | None = None, orientation: int = 1, **options: bool) -> bytes:
    """A file as Pillow writes it, with EXIF."""
    image = Image.fromarray((scene() if picture is None else picture)[:, :, ::-1].copy())
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    image.save(out, format_name, exif=exif.tobytes(), quality=95, **options)
    return out.getvalue()


def upright_by_pillow(data: bytes) -> NDArray[np.uint8]:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert image is not None
    return np.asarray(image.convert("RGB"))[:, :, ::-1]


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_whole_and_for_the_network(format_name: str, orientation: int) -> None:
    data = encoded(format_name, orientation=orientation)
    header = read_header(data, max_pixels=MANY)
    expected = upright_by_pillow(data)
    assert (header.format, header.orientation) == (format_name, orientation)
    assert header.upright_size == expected.shape[1::-1]
    whole = decode(data, header)
    assert whole.shape == expected.shape
    assert np.abs(whole.astype(int) - expected).mean() < 1.5
    network, box = for_network(data, header, NetworkView(64, 64, rgb=False))
    inner = network[box.top : box.top + box.inner_height, box.left : box.left + box.inner_width]
    small = cv2.resize(expected, (box.inner_width, box.inner_height), interpolation=cv2.INTER_AREA)
    assert np.abs(inner.astype(int) - small).mean() < 6
    assert (box.source_width, box.source_height) == header.upright_size


@pytest.mark.parametrize("format_name", FORMATS)
def test_colours_come_in_the_order_the_network_wants(format_name: str) -> None:
    data = encoded(format_name)
    header = read_header(data, max_pixels=MANY)
    bgr, _ = for_network(data, header, NetworkView(160, 96, rgb=False))
    rgb, _ = for_network(data, header, NetworkView(160, 96, rgb=True))
    assert np.array_equal(bgr[:, :, ::-1], rgb)
    assert bgr[5, 5, 2] > 200, "the red corner"
    assert bgr[5, 5, 0] < 60


@given(width=st.integers(1, 700), height=st.integers(1, 700), format_name=st.sampled_from(FORMATS))
@settings(max_examples=60, deadline=None)
def test_sizes_are_read_from_every_header(width: int, height: int, format_name: str) -> None:
    data = encoded(format_name, np.full((height, width, 3), 128, np.uint8))
    assert read_header(data, max_pixels=MANY).upright_size == (width, height)


@pytest.mark.parametrize("data", [encoded("jpeg", progressive=True), encoded("webp", lossless=True)])
def test_the_other_ways_of_coding_are_known(data: bytes) -> None:
    assert decode(data, read_header(data, max_pixels=MANY)).shape == (96, 160, 3)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16", "1", "LA"])
def test_grey_transparent_and_deep_pictures_become_bgr(mode: str) -> None:
    out = io.BytesIO()
    image = Image.new("I;16", (30, 20)) if mode == "I;16" else Image.new("RGB", (30, 20), "red").convert(mode)
    image.save(out, "png")
    header = read_header(out.getvalue(), max_pixels=MANY)
    assert decode(out.getvalue(), header).shape == (20, 30, 3)


def test_a_large_jpeg_is_decoded_at_a_fraction_and_shows_the_same() -> None:
    picture = np.asarray(cv2.resize(scene(), (1600, 960)), np.uint8)
    data = encoded("jpeg", picture)
    header = read_header(data, max_pixels=MANY)
    network, box = for_network(data, header, NetworkView(200, 200, rgb=False))
    inner = network[box.top : box.top + box.inner_height]
    expected = cv2.resize(picture, (200, 120), interpolation=cv2.INTER_AREA)
    assert np.abs(inner.astype(int) - expected).mean() < 2


@pytest.mark.parametrize("orientation", [1, 6])
def test_who_wants_less_of_a_jpeg_gets_no_less_than_that(orientation: int) -> None:
    data = encoded("jpeg", scene(640, 384), orientation)
    header = read_header(data, max_pixels=MANY)
    whole, least = decode(data, header), (160, 80) if orientation == 1 else (80, 160)
    half = decode(data, header, at_least=least)
    assert whole.shape[0] // half.shape[0] == whole.shape[1] // half.shape[1] == 4
    scaled = cv2.resize(whole, half.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(scaled.astype(int) - half).mean() < 4
    assert decode(data, header, at_least=(400, 300)).shape == whole.shape


def test_pictures_that_are_too_large_are_refused_by_their_header_alone() -> None:
    header = struct.pack(">II5B", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with pytest.raises(DecodeError, match="60000x60000"):
        read_header(b"\x89PNG\r\n\x1a\n" + chunk, max_pixels=MANY)
    data = encoded("jpeg")
    with pytest.raises(DecodeError, match="160x96"):
        read_header(data, max_pixels=160 * 96 - 1)
    assert read_header(data, max_pixels=160 * 96).width == 160


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    data = encoded("jpeg", progressive=True)
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00\x00"
    with pytest.raises(DecodeError, match="scans"):
        read_header(data[:-2] + scan * MAX_SCANS + data[-2:], max_pixels=MANY)


def test_a_png_that_claims_gigabytes_is_refused_before_anybody_makes_room_for_them() -> None:
    data = bytearray(encoded("png"))
    data[data.index(b"IDAT") - 4] = 0xE9
    with pytest.raises(DecodeError, match="ends early"):
        read_header(bytes(data), max_pixels=MANY)


def test_what_is_packed_into_a_png_beside_the_picture_is_not_unpacked() -> None:
    data = encoded("png")
    packed = b"iCCP" + b"bomb\0\0" + zlib.compress(bytes(50_000_000), 9)
    chunk = struct.pack(">I", len(packed) - 4) + packed + struct.pack(">I", zlib.crc32(packed))
    filled = data[:33] + chunk + data[33:]
    assert np.array_equal(
        decode(filled, read_header(filled, max_pixels=MANY)), decode(data, read_header(data, max_pixels=MANY))
    )


@pytest.mark.parametrize("format_name", ["png", "webp"])
def test_animations_are_refused(format_name: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    out = io.BytesIO()
    frames[0].save(out, format_name, save_all=True, append_images=frames[1:])
    with pytest.raises(DecodeError, match="animated"):
        read_header(out.getvalue(), max_pixels=MANY)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"GIF89a" + b"\0" * 50, b"<svg/>", b"RIFF\0\0\0\0WEBP", b"\0" * 99]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_header(data, max_pixels=MANY)


@pytest.mark.parametrize(
    "data",
    [b"\xff\xd8" + b"\xff" * 10_000_000, b"\xff\xd8" + b"\xff\xe0\x00\x02" * 2_000_000],
    ids=["fill", "segments"],
)
def test_long_heads_are_given_up_soon(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_header(data, max_pixels=MANY)


@pytest.mark.parametrize("format_name", FORMATS)
def test_damaged_pictures_are_decoded_or_refused_and_nothing_else(format_name: str) -> None:
    chance = random.Random(format_name)  # noqa: S311 - reproducible noise
    data = encoded(format_name, orientation=6)
    outcomes = {"decoded": 0, "refused": 0}
    for _ in range(400):
        damaged = spoilt(data, chance)
        try:
            header = read_header(damaged, max_pixels=1_000_000)
            picture = decode(damaged, header)
            assert picture.shape[1::-1] == header.upright_size
            for_network(damaged, header, NetworkView(64, 64, rgb=False))
            outcomes["decoded"] += 1
        except DecodeError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 10, outcomes


def test_upright_size() -> None:
    assert Header("jpeg", 3, 2, 6).upright_size == (2, 3)
