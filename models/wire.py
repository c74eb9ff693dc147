"""Protobuf as it lies in the file: fields one after the other, read where they are and never copied.

An ONNX file is looked at before anything foreign parses it. Only the wire format is known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Value = int | memoryview

MAX_TEXT_BYTES = 1 << 20

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class MalformedError(ValueError):
    """The bytes are no protobuf message."""


class TooMuchWorkError(ValueError):
    """The file holds more fields than its reader is ready to look at."""


@dataclass(slots=True)
class Budget:
    """How many fields may still be read; shared by all messages of a file, so that work is bounded whatever it says."""

    fields_left: int

    def spend(self) -> None:
        self.fields_left -= 1
        if self.fields_left < 0:
            raise TooMuchWorkError


def fields(message: memoryview, budget: Budget) -> Iterator[tuple[int, Value]]:
    """The (number, value) of each field: an unsigned number, or the bytes of anything else.

    Raises:
        MalformedError: a field reaches beyond the message, or is of a kind that ONNX has none of.
        TooMuchWorkError: the budget is spent.
    """
    for number, value, _, _ in placed_fields(message, budget):
        yield number, value


def placed_fields(message: memoryview, budget: Budget) -> Iterator[tuple[int, Value, int, int]]:
    """As :func:`fields`, with where each field begins (its tag) and ends in the message."""
    place, end = 0, len(message)
    while place < end:
        budget.spend()
        begin = place
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        value: Value
        if kind == VARINT:
            value, place = _varint(message, place)
        else:
            if kind == BYTES:
                size, place = _varint(message, place)
            elif kind in (FIXED32, FIXED64):
                size = 4 if kind == FIXED32 else 8
            else:
                raise MalformedError
            if number == 0 or size > end - place:
                raise MalformedError
            value = message[place : place + size]
            place += size
        yield number, value, begin, place


def packed(value: Value) -> Iterator[int]:
    """The numbers of a repeated integer field, which may come one by one or packed.

    Raises:
        MalformedError: the last number is cut off.
    """
    if isinstance(value, int):
        yield value
        return
    place = 0
    while place < len(value):
        number, place = _varint(value, place)
        yield number


def signed(number: int) -> int:
    """A 64-bit number as ONNX means it."""
    return number - (1 << 64) if number >= 1 << 63 else number


def text(value: Value) -> str:
    """A name or a piece of metadata.

    Raises:
        MalformedError: it is not UTF-8, or longer than any name or metadata is.
    """
    if isinstance(value, int):
        return ""
    if len(value) > MAX_TEXT_BYTES:
        raise MalformedError
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise MalformedError from exc


def message(value: Value) -> memoryview:
    """The bytes of an embedded message.

    Raises:
        MalformedError: there is a number in its place.
    """
    if isinstance(value, int):
        raise MalformedError
    return value


def field(number: int, size: int) -> bytes:
    """The beginning of a field of ``size`` bytes, which follow it."""
    return _to_varint(number << 3 | BYTES) + _to_varint(size)


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    end = len(data)
    while place < end and shift < 70:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, place
        shift += 7
    raise MalformedError


def _to_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
