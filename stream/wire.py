"""What edge and cloud say to each other: crops to look at again, and the answers. Bytes in and bytes out.

A request (``POST /v1/refine``, multipart/form-data) has one JSON part named ``items`` and one JPEG part for each item,
named by the item's key. The reply is JSON with a result for each item: an answer, or an error of its own. A key stands
for one crop for ever: sent again, it gets the same answer and leaves no second trace.

The server reads strictly: a field it does not know, a number out of bounds, a part too many, and the whole request is
refused with one sentence, for a client that says something else than the contract would not get what it means. The
client reads a reply with tolerance: it ignores fields it does not know, so that a refiner may be the newer of the two,
and what makes no sense of one item counts as unsaid and is counted, so that its neighbours are none the worse.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from stream.config import own_problems
from stream.http.errors import HttpError
from stream.http.multipart import Part, parse

VERSION: Literal[1] = 1
REFINE_PATH = "/v1/refine"
ITEMS_PART = "items"
JSON, JPEG = "application/json", "image/jpeg"

MAX_ITEMS = 64
MAX_SIDE_PX = 65_535
MAX_TRACK_ID = 2**53
MAX_TOP_K = 20
# A box is clipped to its frame in 32-bit floats.
_SLACK_PX = 1.0
_SHOWN_PROBLEMS = 3
_TOO_LARGE = 413


def _written(value: object) -> object:
    """Times are texts: a bare number could be seconds or milliseconds."""
    if not isinstance(value, str | datetime):
        raise ValueError("expected a time such as 2026-11-23T09:30:00.000Z")
    return value


Text = Annotated[str, Field(strict=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A name: it may be logged as it is."""

Key = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_-]{8,64}$")]
"""An idempotency key."""

Version = Annotated[str, Field(strict=True, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
Sha256 = Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Field(strict=True, ge=0, le=1)]
Time = Annotated[AwareDatetime, BeforeValidator(_written)]
_Pixel = Annotated[float, Field(strict=True, ge=-_SLACK_PX, le=MAX_SIDE_PX + _SLACK_PX)]
_Side = Annotated[int, Field(strict=True, ge=1, le=MAX_SIDE_PX)]


class WireError(ValueError):
    """A message that is refused as a whole; the text is one sentence and repeats nothing of what was sent."""


class TooLargeError(WireError):
    """A message of more bytes or items than the limits allow."""


@dataclass(frozen=True, slots=True)
class WireLimits:
    """How much one message may hold. The client keeps to them, the server and the client's reader insist on them."""

    max_items: int = MAX_ITEMS
    max_items_bytes: int = 256 << 10
    max_jpeg_bytes: int = 2 << 20
    max_body_bytes: int = 16 << 20
    max_reply_bytes: int = 1 << 20


LIMITS = WireLimits()


class _Asked(BaseModel):
    """Base of what the edge says."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_by_name=True, serialize_by_alias=True
    )


class _Answered(BaseModel):
    """Base of what the cloud says."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class EdgeModel(_Asked):
    """The model that found the object."""

    name: Text
    version: Version
    sha256: Sha256


class Item(_Asked):
    """One crop and what the edge knows of it.

    ``bbox`` is xyxy in pixels of the frame of ``width x height``, without the margin the crop may have. ``time`` is the
    frame's wall-clock time. ``track_id`` is null for an object that is not tracked.
    """

    key: Key
    source: Text
    track_id: Annotated[int, Field(strict=True, ge=0, le=MAX_TRACK_ID)] | None
    class_name: Annotated[Text, Field(alias="class")]
    confidence: Probability
    bbox: tuple[_Pixel, _Pixel, _Pixel, _Pixel]
    time: Time
    width: _Side
    height: _Side
    model: EdgeModel

    @model_validator(mode="after")
    def _box_lies_in_the_frame(self) -> Item:
        left, top, right, bottom = self.bbox
        if left >= right or top >= bottom:
            raise ValueError("bbox must be x1 < x2 and y1 < y2")
        if right > self.width + _SLACK_PX or bottom > self.height + _SLACK_PX:
            raise ValueError("bbox reaches beyond its frame")
        return self


class RefineItems(_Asked):
    """The JSON part of a request. Who does not say its version speaks the first."""

    version: Literal[1] = VERSION
    items: Annotated[tuple[Item, ...], Field(min_length=1, max_length=MAX_ITEMS)]


@dataclass(frozen=True, slots=True)
class Crop:
    """An item with its picture, which is whatever the client says is a JPEG: nobody has looked at it yet."""

    item: Item
    jpeg: bytes


class RefinerModel(_Answered):
    """The model that answered; ``sha256`` is empty where there is no file of it."""

    name: Text
    version: Version = ""
    sha256: Sha256 | Literal[""] = ""


class Guess(_Answered):
    """A label and how probable the refiner finds it."""

    label: Text
    confidence: Probability


class Refined(_Answered):
    """What the refiner sees. ``agreement`` with the edge's class is null where it has no name for that."""

    key: Key
    label: Text
    confidence: Probability
    top_k: Annotated[tuple[Guess, ...], Field(max_length=MAX_TOP_K)] = ()
    agreement: Probability | None = None
    model: RefinerModel


class Problem(_Answered):
    """Why an item has no answer. ``retry`` says that the same item may fare better later."""

    code: Annotated[str, Field(strict=True, pattern=r"^[a-z_]{1,40}$")]
    message: Annotated[str, Field(strict=True, max_length=500)] = ""
    retry: Annotated[bool, Field(strict=True)] = False


class Failed(_Answered):
    """An item that could not be answered; its neighbours are none the worse."""

    key: Key
    error: Problem


Answer = Refined | Failed


class RefineReply(_Answered):
    """What the server sends: a result for each item."""

    version: Literal[1] = VERSION
    results: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the client understood: ``answers`` by key; one that is missing was not given.

    ``strangers`` are results of items that were not asked about, or of one item several times, all of which count as
    unsaid; ``senseless`` those that are not as the contract says.
    """

    answers: Mapping[str, Answer]
    strangers: int = 0
    senseless: int = 0


def encode_request(crops: Sequence[Crop], limits: WireLimits = LIMITS) -> tuple[bytes, str]:
    """The body and its content type.

    Raises:
        WireError: there are none, or two of the same key.
        TooLargeError: they are more than one request may hold.
    """
    _check_keys([crop.item.key for crop in crops], limits)
    listed = RefineItems(items=tuple(crop.item for crop in crops)).model_dump_json().encode()
    for crop in crops:
        _check_size(crop.jpeg, "a picture", limits.max_jpeg_bytes)
    _check_size(listed, "the list of items", limits.max_items_bytes)
    boundary = secrets.token_hex(16)
    parts = [_part(boundary, ITEMS_PART, JSON, listed)]
    parts += [_part(boundary, crop.item.key, JPEG, crop.jpeg) for crop in crops]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    _check_size(body, "the request", limits.max_body_bytes)
    return body, f"multipart/form-data; boundary={boundary}"


def decode_request(body: bytes, content_type: str, limits: WireLimits = LIMITS) -> tuple[Crop, ...]:
    """The crops of a request, in the order of their items.

    Raises:
        TooLargeError: it holds more than the limits allow.
        WireError: it is not what the contract says.
    """
    _check_size(body, "the request", limits.max_body_bytes)
    try:
        parts = parse(body, content_type, max_parts=limits.max_items + 1)
    except HttpError as exc:
        raise (TooLargeError if exc.status == _TOO_LARGE else WireError)(str(exc)) from exc
    pictures = {part.name: part for part in parts}
    if len(pictures) < len(parts):
        raise WireError("two parts of the request have the same name")
    listed = pictures.pop(ITEMS_PART, None)
    if listed is None or listed.content_type != JSON:
        raise WireError(f"the request has no part {ITEMS_PART!r} of type {JSON}")
    _check_size(listed.data, "the list of items", limits.max_items_bytes)
    try:
        items = RefineItems.model_validate_json(listed.data).items
    except ValidationError as exc:
        raise WireError(f"the list of items is refused: {_problems(exc)}") from exc
    return pair(items, list(pictures.values()), limits)


def pair(items: Sequence[Item], pictures: Sequence[Part], limits: WireLimits = LIMITS) -> tuple[Crop, ...]:
    """Items with their pictures, parts of a form that was taken apart already.

    Raises:
        TooLargeError: they are more, or larger, than the limits allow.
        WireError: there is not one JPEG for each item.
    """
    _check_keys([item.key for item in items], limits)
    by_key = {picture.name: picture for picture in pictures}
    if len(by_key) < len(pictures) or {item.key for item in items} != by_key.keys():
        raise WireError("every item needs one picture of its own, in a part named by its key")
    for picture in pictures:
        if picture.content_type != JPEG:
            raise WireError(f"a picture is not of type {JPEG}")
        _check_size(picture.data, "a picture", limits.max_jpeg_bytes)
    return tuple(Crop(item, by_key[item.key].data) for item in items)


def encode_reply(answers: Sequence[Answer]) -> bytes:
    """The body of a reply, application/json."""
    return RefineReply(results=tuple(answers)).model_dump_json().encode()


def decode_reply(body: bytes, asked: Collection[str], limits: WireLimits = LIMITS) -> Reply:
    """What a reply says of the keys in ``asked``.

    Raises:
        TooLargeError: the reply is larger than any honest one.
        WireError: it is no reply at all.
    """
    _check_size(body, "the reply", limits.max_reply_bytes)
    try:
        said = from_json(body, allow_inf_nan=False)
    except ValueError as exc:
        raise WireError("the reply is not JSON") from exc
    results = said.get("results") if isinstance(said, dict) else None
    if not isinstance(results, list):
        raise WireError("the reply holds no results")
    if said.get("version", VERSION) != VERSION:
        raise WireError(f"the reply is of another version than {VERSION}")
    known = [each for each in results if isinstance(each, dict) and _key(each) in asked]
    times = Counter(each["key"] for each in known)
    single = [each for each in known if times[each["key"]] == 1]
    answers = [answer for answer in map(_answer, single) if answer is not None]
    return Reply(
        {answer.key: answer for answer in answers},
        strangers=len(results) - len(single),
        senseless=len(single) - len(answers),
    )


def _part(boundary: str, name: str, kind: str, content: bytes) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: {kind}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def _key(result: dict[str, Any]) -> str | None:
    key = result.get("key")
    return key if isinstance(key, str) else None


def _answer(result: dict[str, Any]) -> Answer | None:
    kind = Refined if result.get("error") is None else Failed
    try:
        return kind.model_validate(result)
    except ValidationError:
        return None


def _check_keys(keys: Sequence[str], limits: WireLimits) -> None:
    if len(keys) > limits.max_items:
        raise TooLargeError(f"the request has {len(keys)} items, at most {limits.max_items} are taken")
    if not keys:
        raise WireError("the request has no items")
    if len(set(keys)) < len(keys):
        raise WireError("two items of the request have the same key")


def _check_size(content: bytes, what: str, most: int) -> None:
    if len(content) > most:
        raise TooLargeError(f"{what} has {len(content)} bytes, at most {most} are taken")


def _problems(error: ValidationError) -> str:
    """The first of them. What was sent is not repeated: it may be a secret."""
    problems = own_problems(error.errors(include_url=False, include_input=False, include_context=False))
    shown = "; ".join(_problem(each) for each in problems[:_SHOWN_PROBLEMS])
    more = len(problems) - _SHOWN_PROBLEMS
    return f"{shown}; and {more} more" if more > 0 else shown


def _problem(error: Any) -> str:
    """Place and reason; the name of a field that is not known is the peer's own word, so it is made printable."""
    place = ".".join(str(part)[:40].encode("unicode_escape").decode() for part in error["loc"])
    unknown = error["type"] == "extra_forbidden"
    reason = "this field is not known" if unknown else str(error["msg"]).removeprefix("Value error, ")[:200]
    return f"{place}: {reason[:1].lower()}{reason[1:]}" if place else f"{reason[:1].lower()}{reason[1:]}"
