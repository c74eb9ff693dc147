"""Crops as they come: their header is looked at before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from cloud.errors import ItemError
from stream.errors import DecodeError
from stream.images import LONGEST_SIDE_PX, Header, read_header


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A JPEG, not decoded yet, and what its header says; ``edge_class`` is what the edge takes it for."""

    jpeg: bytes
    header: Header
    edge_class: str


@dataclass(frozen=True, slots=True)
class CropLimits:
    """What a crop may measure: its shorter side at least, and its pixels at most."""

    min_side_px: int
    max_pixels: int


def look_at(jpeg: bytes, edge_class: str, limits: CropLimits) -> Crop:
    """Raises: ItemError for what is no JPEG, too small or too large by its header."""
    try:
        header = read_header(jpeg, max_pixels=LONGEST_SIDE_PX**2)
    except DecodeError as exc:
        raise ItemError.bad_image(str(exc)) from exc
    if header.format != "jpeg":
        raise ItemError.bad_image(f"crops are JPEGs, this is a {header.format.upper()}")
    if min(header.width, header.height) < limits.min_side_px:
        raise ItemError.too_small(header.width, header.height, limits.min_side_px)
    if header.width * header.height > limits.max_pixels:
        raise ItemError.too_large(header.width, header.height, limits.max_pixels)
    return Crop(jpeg, header, edge_class)
