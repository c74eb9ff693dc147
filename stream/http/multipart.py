"""The one place where ``multipart/form-data`` is taken apart: bytes in, bounded parts out, or a 400."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from stream.http.errors import HttpError

MAX_PART_HEAD_BYTES = 8 << 10
MAX_PART_HEADERS = 16
MAX_NAME_LENGTH = 200

# 70 is the standard's; browsers' and libraries' are shorter.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")
_PARAMETER = re.compile(r';[ \t]*([!#$%&\'*+.^_`|~\w-]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;"]*)', re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN_ENCODINGS = {"", "binary", "8bit", "7bit"}


@dataclass(frozen=True, slots=True)
class Part:
    """One part. ``filename`` is what the client calls it, without folders: something to show, never a path to open."""

    name: str
    data: bytes
    content_type: str = ""
    filename: str | None = None

    @property
    def is_file(self) -> bool:
        return self.filename is not None or self.content_type not in {"", "text/plain", "application/json"}


def parse(body: bytes, content_type: str, *, max_parts: int) -> tuple[Part, ...]:
    """The parts of ``body``; ``content_type`` is the request's header, with its boundary.

    Raises:
        HttpError: 400 when it is not well formed, 413 when there are too many parts.
    """
    parts: list[Part] = []
    for head, data in _cut(body, boundary_of(content_type)):
        if len(parts) >= max_parts:
            raise HttpError(413, f"the body has more than {max_parts} parts", cause="parts")
        parts.append(_part(_headers(head), data))
    return tuple(parts)


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names.

    Raises:
        HttpError: 400 when there is none, or none that the standard allows.
    """
    boundary = parameters(content_type)[1].get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise _malformed("its Content-Type names no valid boundary")
    return boundary.encode()


def parameters(header: str) -> tuple[str, dict[str, str]]:
    """The value of a header like ``form-data; name="x"`` in lower case, and its parameters (the first of each)."""
    value, more, _ = header.partition(";")
    if not more:
        return value.strip().lower(), {}
    found: dict[str, str] = {}
    for name, text in _PARAMETER.findall(header, len(value)):
        found.setdefault(name.lower(), _unquoted(text))
    return value.strip().lower(), found


def _cut(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The head and the data of each part."""
    delimiter = b"\r\n--" + boundary
    # What comes before the first delimiter is to be ignored, which may begin the body without a line end.
    position = 0 if body.startswith(delimiter[2:]) else body.find(delimiter)
    if position < 0:
        raise _malformed("its boundary is not in it")
    position += len(delimiter) - (2 if position == 0 and not body.startswith(delimiter) else 0)
    while not body.startswith(b"--", position):
        start = _end_of_line(body, position)
        end = body.find(delimiter, start - 2)
        head_end = body.find(b"\r\n\r\n", start - 2, min(start + MAX_PART_HEAD_BYTES, len(body)))
        if end < 0:
            raise _malformed("it ends before its last boundary")
        if head_end < 0 or head_end + 2 > end:
            raise _malformed("a part has no headers, or too long ones")
        yield body[start:head_end], body[head_end + 4 : end]
        position = end + len(delimiter)


def _end_of_line(body: bytes, position: int) -> int:
    end = body.find(b"\r\n", position)
    if end < 0 or body[position:end].strip(b" \t"):
        raise _malformed("a boundary is followed by something else")
    return end + 2


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("utf-8", "replace").split("\r\n") if head else []
    if len(lines) > MAX_PART_HEADERS:
        raise _malformed("a part has too many headers")
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise _malformed("a part's header cannot be read")
        headers.setdefault(match.group(1).lower(), match.group(2))
    return headers


def _part(headers: dict[str, str], data: bytes) -> Part:
    kind, named = parameters(headers.get("content-disposition", ""))
    name = named.get("name", "")
    if kind != "form-data" or not name or len(name) > MAX_NAME_LENGTH or _CONTROL.search(name):
        raise _malformed("a part has no name")
    if headers.get("content-transfer-encoding", "").lower() not in _PLAIN_ENCODINGS:
        raise _malformed(f"part '{name}' uses a Content-Transfer-Encoding")
    content_type = parameters(headers.get("content-type", ""))[0]
    if content_type.startswith("multipart/"):
        raise _malformed(f"part '{name}' is a multipart itself")
    return Part(name, data, content_type, _filename(named))


def _filename(named: dict[str, str]) -> str | None:
    extended = named.get("filename*")
    if extended is None and "filename" not in named:
        return None
    text = _extended(extended) if extended else named.get("filename", "")
    return _CONTROL.sub("", re.split(r"[/\\]", text)[-1])[:MAX_NAME_LENGTH]


def _extended(text: str) -> str:
    """``UTF-8''na%C3%AFve.jpg``; other character sets have gone out of use."""
    return unquote_to_bytes(text.split("'")[-1]).decode("utf-8", "replace")


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text.strip()
    # Only what had to be escaped was: some send C:\pictures\x.jpg as it is.
    return re.sub(r'\\(["\\])', r"\1", text[1:-1]) if "\\" in text else text[1:-1]


def _malformed(what: str) -> HttpError:
    return HttpError(400, f"the multipart body is malformed: {what}", cause="malformed")
