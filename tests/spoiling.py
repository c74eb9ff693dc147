"""Damaged pictures by the thousand: a few bytes of a good file changed, moved, cut or doubled."""

from __future__ import annotations

import random
import zlib

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def spoilt(data: bytes, chance: random.Random) -> bytes:
    """The file damaged in up to six places, mostly near its head where sizes are. A PNG's checksums are mostly made
    right again, for else nothing behind them would ever be reached."""
    damaged = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        _damage(damaged, chance)
    result = bytes(damaged)
    return _with_checksums(result) if data.startswith(PNG_MAGIC) and chance.random() < 0.8 else result


def _damage(data: bytearray, chance: random.Random) -> None:
    if len(data) < 20:
        return
    at = chance.randrange(len(data) if chance.random() < 0.4 else min(len(data), 400))
    match chance.randrange(5):
        case 0:
            data[at] = chance.randrange(256)
        case 1:
            data[at] ^= 1 << chance.randrange(8)
        case 2:
            del data[at : at + chance.randint(1, 40)]
        case 3:
            data[at:at] = data[at : at + chance.randint(1, 60)]
        case _:
            data[at : at + 4] = chance.randbytes(4)


def _with_checksums(data: bytes) -> bytes:
    parts, position = [data[:8]], 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        body = data[position + 4 : position + 8 + length]
        if len(body) < 4 + length or position + 12 + length > len(data):
            break
        parts.append(data[position : position + 4] + body + zlib.crc32(body).to_bytes(4, "big"))
        position += 12 + length
    return b"".join(parts) + data[position:]
