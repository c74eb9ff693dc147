"""Parcels in the words of the wire, and its answers in ours: the contract itself is :mod:`stream.wire`."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from edge.escalation.exchange import Reply
from edge.escalation.parcel import Parcel
from edge.escalation.results import Verdict
from stream.wire import Crop, EdgeModel, Failed, Item, Refined, decode_reply, encode_request

# Names that users and models choose, on their way into a message that takes only what may be logged.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_LONGEST_NAME = 200
_LONGEST_VERSION = 100


class UnsendableError(ValueError):
    """One of the parcels does not fit the contract, or all of them are too much for one request."""


def encode(parcels: Sequence[Parcel]) -> tuple[bytes, str]:
    """The body and its content type. Raises UnsendableError."""
    try:
        return encode_request([Crop(_item(each), each.jpeg) for each in parcels])
    except ValueError as exc:  # the wire's own, and pydantic's of a single item
        raise UnsendableError(str(exc)) from exc


def decode(body: bytes, asked: Collection[str]) -> Reply:
    """Raises WireError when it is no reply."""
    said = decode_reply(body, asked)
    verdicts, transient = {}, {}
    for key, answer in said.answers.items():
        if isinstance(answer, Failed) and answer.error.retry:
            transient[key] = answer.error.code
        else:
            verdicts[key] = _verdict(answer)
    return Reply(verdicts, transient, strangers=said.strangers, senseless=said.senseless)


def _item(parcel: Parcel) -> Item:
    """Nothing goes out but this and the crop. Boxes may reach beyond the picture; what is seen of them does not."""
    x1, y1, x2, y2 = parcel.bbox
    return Item(
        key=parcel.key,
        source=_name(parcel.track.camera),
        track_id=parcel.track.track_id,
        class_name=_name(parcel.class_name),
        confidence=min(1.0, max(0.0, parcel.confidence)),
        bbox=(max(0.0, x1), max(0.0, y1), min(float(parcel.width), x2), min(float(parcel.height), y2)),
        time=datetime.fromtimestamp(parcel.frame_time_s, UTC),
        width=parcel.width,
        height=parcel.height,
        model=EdgeModel(
            name=_name(parcel.model_name),
            version=_CONTROL.sub("_", parcel.model_version)[:_LONGEST_VERSION],
            sha256=parcel.model_sha256,
        ),
    )


def _name(text: str) -> str:
    return _CONTROL.sub("_", text)[:_LONGEST_NAME] or "_"


def _verdict(answer: Refined | Failed) -> Verdict:
    if isinstance(answer, Failed):
        return Verdict(error=f"{answer.error.code}: {_CONTROL.sub(' ', answer.error.message)}")
    return Verdict(
        label=answer.label,
        confidence=answer.confidence,
        agreement=answer.agreement,
        model=answer.model.name,
        model_version=answer.model.version,
        top=tuple((guess.label, guess.confidence) for guess in answer.top_k),
    )
