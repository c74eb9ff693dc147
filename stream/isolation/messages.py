"""What parent and child say to each other: JSON with bounds on every field.

The child decodes what strangers send, so that its messages are read as if they had written them.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stream.frame import Frame, SourceInfo
from stream.geometry import Placement
from stream.packets import EncodedPacket, VideoTrack
from stream.redaction import redact_url
from stream.sources.address import AddressKind
from stream.sources.base import PictureDemand, SourceLosses
from stream.sources.status import SourceState, SourceStatus

_LARGEST = 1 << 53
"""What JSON numbers hold exactly; in ticks of 1/90000 s, three thousand years."""

_LONGEST_SENTENCE = 500


def shown(text: str) -> str:
    """``text`` fit for terminals and logs: without what moves their cursor, and without credentials."""
    return redact_url("".join(char if char.isprintable() else " " for char in text))


Count = Annotated[int, Field(ge=0, le=_LARGEST)]
Ticks = Annotated[int, Field(ge=0, le=_LARGEST)]
Side = Annotated[int, Field(ge=1, le=65_535)]
Moment = Annotated[float, Field(ge=-1e12, le=1e12)]
Duration = Annotated[float, Field(ge=0, le=1e6)]
Sentence = Annotated[str, Field(max_length=_LONGEST_SENTENCE), AfterValidator(shown)]
Word = Annotated[str, Field(pattern=r"^[\w.,+\-]{0,64}$")]
Positive = Annotated[int, Field(ge=1, le=1 << 31)]
Ratio = tuple[Annotated[int, Field(ge=0, le=1 << 31)], Positive]


class ProtocolError(Exception):
    """The other side said something that cannot be."""


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# From the parent.


class Start(Message):
    """What to decode. It holds the credentials: that is why it travels here and not on the command line."""

    kind: Literal["start"] = "start"
    factory: str
    address_kind: AddressKind
    url: str = Field(repr=False)
    label: str
    name: str
    settings: dict[str, Any]
    look: dict[str, Any]
    demand: PictureDemand
    tapped: bool


class LaidOut(Message):
    """The answer to :class:`LayOut`: there is room for ``slots`` such pictures; ``view`` is how the detector sees them
    (``width``, ``height``, ``rgb``, ``placement``), None while it is not ready."""

    kind: Literal["laid_out"] = "laid_out"
    view: tuple[Side, Side, bool, Placement] | None
    slots: Positive


class Receipt(Message):
    """So many more frames were taken, the oldest first, and their slots are free. Says also which pictures are wanted,
    and whether the detector has got ready since the last answer."""

    kind: Literal["receipt"] = "receipt"
    frames: Count
    demand: PictureDemand
    ready: bool


Order = Annotated[Start | LaidOut | Receipt, Field(discriminator="kind")]

# From the child.


class Opened(Message):
    """The source is open."""

    kind: Literal["opened"] = "opened"
    container: Word
    codec: Word
    width: Side
    height: Side
    frame_rate: Ratio
    time_base: tuple[Positive, Positive]
    rotation_degrees: Annotated[int, Field(ge=-360, le=360)]
    started_at: Annotated[float, Field(ge=0, le=1e11)] | None

    @classmethod
    def of(cls, info: SourceInfo) -> Opened:
        return cls(
            container=info.container,
            codec=info.codec,
            width=info.width,
            height=info.height,
            frame_rate=ratio(info.frame_rate),
            time_base=ratio(info.time_base),
            rotation_degrees=info.rotation_degrees,
            started_at=info.started_at,
        )

    def info(self, name: str, location: str) -> SourceInfo:
        return SourceInfo(
            name=name,
            location=location,
            container=self.container,
            codec=self.codec,
            width=self.width,
            height=self.height,
            frame_rate=Fraction(*self.frame_rate),
            time_base=Fraction(*self.time_base),
            rotation_degrees=self.rotation_degrees,
            started_at=self.started_at,
        )


class Over(Message):
    """Nothing more comes: the source ``ended``, did not open (``refused``), could not go on (``failed``), or met an
    error that nobody expected (``broken``)."""

    kind: Literal["over"] = "over"
    how: Literal["ended", "refused", "failed", "broken"]
    reason: Sentence = ""


class Losses(Message):
    """As :class:`stream.sources.base.SourceLosses`."""

    corrupt_packets: Count
    damaged_frames: Count
    pts_missing: Count
    pts_not_forward: Count
    truncated: Sentence | None

    @classmethod
    def of(cls, losses: SourceLosses) -> Losses:
        return cls(
            corrupt_packets=losses.corrupt_packets,
            damaged_frames=losses.damaged_frames,
            pts_missing=losses.pts_missing,
            pts_not_forward=losses.pts_not_forward,
            truncated=None if losses.truncated is None else sentence(losses.truncated),
        )


class Report(Message):
    """How the source is doing; comes often. ``quiet_s`` is how long its thread has given no sign of life although
    nothing keeps it waiting."""

    kind: Literal["report"] = "report"
    state: SourceState
    since_s: Moment
    reason: Sentence
    connects: Count
    retry_at_s: Moment | None
    quiet_s: Duration
    losses: Losses
    drops: Annotated[dict[Word, Count], Field(max_length=32)]

    @classmethod
    def of(cls, status: SourceStatus, quiet_s: float, losses: SourceLosses, drops: dict[str, int]) -> Report:
        return cls(
            state=status.state,
            since_s=status.since_s,
            reason=sentence(status.reason),
            connects=status.connects,
            retry_at_s=status.retry_at_s,
            quiet_s=quiet_s,
            losses=Losses.of(losses),
            drops=drops,
        )


class LayOut(Message):
    """Pictures of this size follow: how does the detector see them, and where is room for them?"""

    kind: Literal["lay_out"] = "lay_out"
    width: Side
    height: Side


class Picture(Message):
    """A frame. Its pixels, the whole picture's and then the network's, are in ``slot`` of the shared memory; where
    there is no such memory, in the payload."""

    kind: Literal["picture"] = "picture"
    index: Count
    pts: Ticks
    epoch: Count
    width: Side
    height: Side
    received_s: Moment
    decode_s: Duration
    preprocess_s: Duration
    still: bool
    slot: Count | None
    has_picture: bool
    has_network: bool

    @classmethod
    def of(cls, frame: Frame, slot: int | None) -> Picture:
        return cls(
            index=frame.index,
            pts=frame.pts,
            epoch=frame.epoch,
            width=frame.width,
            height=frame.height,
            received_s=frame.received_s,
            decode_s=frame.decode_s,
            preprocess_s=frame.preprocess_s,
            still=frame.still,
            slot=slot,
            has_picture=frame.picture is not None,
            has_network=frame.network is not None,
        )


class Track(Message):
    """The packets that follow belong to this track. The payload is its extradata."""

    kind: Literal["track"] = "track"
    codec: Word
    width: Annotated[int, Field(ge=0, le=65_535)]
    height: Annotated[int, Field(ge=0, le=65_535)]
    frame_rate: Ratio
    time_base: tuple[Positive, Positive]

    @classmethod
    def of(cls, track: VideoTrack) -> Track:
        return cls(
            codec=track.codec,
            width=track.width,
            height=track.height,
            frame_rate=ratio(track.frame_rate),
            time_base=ratio(track.time_base),
        )


class Coded(Message):
    """A packet of the last track; the payload is its data."""

    kind: Literal["coded"] = "coded"
    pts: Ticks
    dts: Ticks
    epoch: Count
    is_keyframe: bool
    received_s: Moment

    @classmethod
    def of(cls, packet: EncodedPacket) -> Coded:
        return cls(
            pts=packet.pts,
            dts=packet.dts,
            epoch=packet.epoch,
            is_keyframe=packet.is_keyframe,
            received_s=packet.received_s,
        )


Saying = Annotated[Opened | Over | Report | LayOut | Picture | Track | Coded, Field(discriminator="kind")]

_ORDERS: TypeAdapter[Start | LaidOut | Receipt] = TypeAdapter(Order)
_SAYINGS: TypeAdapter[Opened | Over | Report | LayOut | Picture | Track | Coded] = TypeAdapter(Saying)


def read_order(body: bytes) -> Start | LaidOut | Receipt:
    """What the parent says."""
    return _ORDERS.validate_json(body)


def read_saying(body: bytes) -> Opened | Over | Report | LayOut | Picture | Track | Coded:
    """What the child says. Raises ProtocolError."""
    try:
        return _SAYINGS.validate_json(body)
    except ValidationError as exc:
        # What was said is not repeated: it may be anything.
        first = exc.errors(include_input=False, include_url=False, include_context=False)[0]
        raise ProtocolError(
            f"{'.'.join(str(part) for part in first['loc'])[:80] or 'message'}: {first['type']}"
        ) from exc


def sentence(text: str) -> str:
    """``text`` cut to what a :data:`Sentence` may be; redacted first, since half a URL looks like none."""
    return shown(text)[:_LONGEST_SENTENCE]


def ratio(value: Fraction) -> tuple[int, int]:
    return value.numerator, value.denominator
