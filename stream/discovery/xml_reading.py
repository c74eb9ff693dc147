"""XML from strangers: whoever is on the network may answer, so that nothing but plain elements is read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

MAX_XML_BYTES = 256 * 1024
"""The longest answer read. A camera with dozens of profiles says less than half of it."""

MAX_XML_DEPTH = 32
MAX_XML_ELEMENTS = 10_000
MAX_TEXT_CHARACTERS = 300


class UnreadableXmlError(ValueError):
    """What came is not XML that we read: malformed, too much of it, or with declarations of its own."""


def read_xml(data: bytes) -> ET.Element:
    """The root element of ``data``, UTF-8.

    A document type is refused as SOAP demands: without one there are no entities, so that nothing can expand, and
    nothing outside the text is ever named.

    Raises:
        UnreadableXmlError: it is not such XML, or larger, deeper or fuller than any camera's answer.
    """
    if len(data) > MAX_XML_BYTES:
        raise UnreadableXmlError(f"more than {MAX_XML_BYTES} bytes")
    # The declared encoding is not asked: it could name any of Python's codecs.
    parser: Any = ET.XMLParser(target=_PlainBuilder(), encoding="utf-8")  # noqa: S314 - made safe by the builder
    try:
        parser.feed(data)
        root: ET.Element = parser.close()
    except ET.ParseError as exc:
        raise UnreadableXmlError(str(exc)) from exc
    return root


def text_at(element: ET.Element, path: str) -> str:
    """The text at ``path``, fit to be printed: one short line without control characters; empty where there is none.

    Paths match names in any namespace when written ``{*}Name``: makers and years differ in theirs.
    """
    return printable(element.findtext(path) or "")


def printable(text: str) -> str:
    """``text`` as one line of bounded length that cannot move a terminal's cursor or turn its direction."""
    words = " ".join(text[: 4 * MAX_TEXT_CHARACTERS].split())
    return "".join(character for character in words if character.isprintable())[:MAX_TEXT_CHARACTERS]


class _PlainBuilder(ET.TreeBuilder):
    """Builds elements and stops at anything that a small plain message does not have."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._elements = 0

    def doctype(self, _name: str, _public_id: str | None, _system_id: str | None) -> None:
        raise UnreadableXmlError("it declares a document type")

    def start(self, tag: str, attrs: dict[str, str], /) -> ET.Element:
        self._depth += 1
        self._elements += 1
        if self._depth > MAX_XML_DEPTH or self._elements > MAX_XML_ELEMENTS:
            raise UnreadableXmlError("it is nested too deeply or holds too many elements")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ET.Element:
        self._depth -= 1
        return super().end(tag)
