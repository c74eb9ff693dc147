"""Packets of every kind of camera become files that play; what cannot be held is left out and counted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av import CodecContext
from av.video.codeccontext import VideoCodecContext
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import SinkError
from stream.packets import EncodedPacket, VideoTrack
from stream.recording.parameter_sets import InBand
from stream.recording.segment import Segment, suffix_of
from stream.sinks.guarded import GuardedFile
from tests.clips import Clip, decode, flat_picture, frame_number, write_clip
from tests.recordings import FPS, NOON, SMALL, TICKS, numbers, packets

GLOBAL_HEADER = 1 << 22


def write(path: Path, some: Iterable[EncodedPacket]) -> Segment:
    some = list(some)
    segment = Segment(GuardedFile(path, anew=True), some[0], camera="cam1", started_at=NOON)
    for packet in some:
        segment.write(packet)
    segment.close()
    return segment


def sent_apart(encoder_name: str, codec: str) -> list[EncodedPacket]:
    """As from an RTSP server: Annex B, with the parameter sets in the stream's description alone."""
    encoder = CodecContext.create(encoder_name, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height = SMALL
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, TICKS), Fraction(FPS)
    encoder.gop_size, encoder.max_b_frames, encoder.flags = FPS, 0, encoder.flags | GLOBAL_HEADER
    encoder.options = {"preset": "ultrafast", "crf": "4"}
    if encoder_name == "libx265":
        encoder.options |= {"x265-params": "log-level=none:bframes=0:repeat-headers=0"}
    coded = []
    for number in range(25):
        picture = flat_picture(number, *SMALL)
        picture.pts, picture.time_base = number * TICKS // FPS, encoder.time_base
        coded += encoder.encode(picture)
    coded += encoder.encode(None)
    track = VideoTrack(codec, *SMALL, Fraction(1, TICKS), Fraction(FPS), encoder.extradata or b"")
    return [EncodedPacket(track, bytes(p), p.pts or 0, p.dts or 0, p.is_keyframe, 0.0) for p in coded]


def remuxed(path: Path) -> list[EncodedPacket]:
    """The packets of a file as libav hands them out."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert stream.time_base is not None
        track = VideoTrack(
            context.codec.canonical_name,
            context.width,
            context.height,
            stream.time_base,
            stream.average_rate or Fraction(0),
            context.extradata or b"",
        )
        return [
            EncodedPacket(track, bytes(packet), packet.pts or 0, packet.dts or 0, packet.is_keyframe, 0.0)
            for packet in container.demux(stream)
            if packet.dts is not None
        ]


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "mjpeg", "mpeg4", "libvpx", "libvpx-vp9"])
def test_every_cameras_codec_plays_back(tmp_path: Path, encoder: str) -> None:
    some = packets(25, codec=encoder)
    path = tmp_path / f"a{suffix_of(some[0].track.codec)}"
    write(path, some)
    if encoder == "mjpeg":  # its range of greys is another
        assert [time for time, _ in decode(path)] == [Fraction(n, FPS) for n in range(25)]
    else:
        assert numbers(path) == list(range(25))


def test_what_a_browser_plays_is_an_mp4_and_uncompressed_pictures_are_refused() -> None:
    assert {codec: suffix_of(codec) for codec in ("h264", "hevc", "mjpeg", "vp9", "rawvideo")} == {
        "h264": ".mp4",
        "hevc": ".mp4",
        "mjpeg": ".mp4",
        "vp9": ".mkv",
        "rawvideo": None,
    }


@pytest.mark.parametrize(("encoder", "codec"), [("libx264", "h264"), ("libx265", "hevc")])
def test_parameter_sets_that_were_sent_apart_reach_each_file(tmp_path: Path, encoder: str, codec: str) -> None:
    some = sent_apart(encoder, codec)
    assert not InBand(replace(some[0].track, extradata=b"")).can_begin(some[0])
    write(tmp_path / "a.mp4", some)
    write(tmp_path / "b.mp4", some[10:])
    assert numbers(tmp_path / "a.mp4") == list(range(25))
    assert numbers(tmp_path / "b.mp4") == list(range(10, 25))


@pytest.mark.parametrize(("encoder", "codec"), [("libx264", "h264"), ("libx265", "hevc"), ("mpeg4", "mpeg4")])
def test_video_that_came_in_an_mp4_or_flv_is_copied(tmp_path: Path, encoder: str, codec: str) -> None:
    clip = Clip(frames=25, rate=Fraction(FPS), codec=encoder, gop=5, width=SMALL[0], height=SMALL[1])
    some = remuxed(write_clip(tmp_path / "camera.mp4", clip))
    assert some[0].track.codec == codec
    assert (some[0].track.extradata[:1] == b"\x01") == (codec != "mpeg4"), "length-prefixed, as this test means to show"
    write(tmp_path / "copy.mp4", some)
    assert numbers(tmp_path / "copy.mp4") == list(range(25))


def test_b_frames_keep_their_times(tmp_path: Path) -> None:
    some = packets(40, b_frames=2)
    assert some[0].dts < some[0].pts
    write(tmp_path / "a.mp4", some)
    write(tmp_path / "b.mp4", some[20:])
    assert numbers(tmp_path / "a.mp4") == list(range(40))
    assert numbers(tmp_path / "b.mp4") == list(range(20, 40))


def test_a_rate_that_varies_is_kept(tmp_path: Path) -> None:
    ticks = [0, 1, 9000, 9001, 500_000, 500_040, 9_000_000]
    some = [replace(packet, pts=tick, dts=tick) for packet, tick in zip(packets(7), ticks, strict=True)]
    segment = write(tmp_path / "a.mp4", some)
    assert [time for time, _ in decode(tmp_path / "a.mp4")] == [Fraction(tick, TICKS) for tick in ticks]
    assert segment.end_s == pytest.approx(100.1)


def test_pictures_shown_before_the_first_keyframe_are_left_out(tmp_path: Path) -> None:
    some = list(packets(30))
    leading = replace(some[11], pts=some[10].pts - 2, dts=some[11].dts)
    segment = write(tmp_path / "a.mp4", [some[10], leading, *some[12:]])
    assert segment.left_out == 1
    assert len(decode(tmp_path / "a.mp4")) == 19


def test_decoding_times_that_do_not_move_forward_are_mended(tmp_path: Path) -> None:
    some = list(packets(30))
    some[15] = replace(some[15], pts=some[14].pts, dts=some[13].dts)
    segment = write(tmp_path / "a.mp4", some)
    assert [frame_number(picture) for _, picture in decode(tmp_path / "a.mp4")] == list(range(30))
    assert segment.left_out == 0


def test_a_packet_without_content_is_left_out(tmp_path: Path) -> None:
    some = list(packets(20))
    segment = write(tmp_path / "a.mp4", [*some[:5], replace(some[5], data=b""), *some[10:]])
    assert segment.left_out == 1


def test_a_packet_of_nonsense_does_not_end_the_file(tmp_path: Path) -> None:
    some = list(packets(30))
    write(tmp_path / "a.mp4", [*some[:5], replace(some[5], data=b"\xff" * 40), *some[6:]])
    with av.open(str(tmp_path / "a.mp4")) as container:
        times = [packet.pts * packet.time_base for packet in container.demux(video=0) if packet.pts is not None]
    assert times[-10:] == [Fraction(n, FPS) for n in range(20, 30)]


def refused(path: Path, first: EncodedPacket) -> str:
    file = GuardedFile(path, anew=True)
    try:
        with pytest.raises(SinkError) as caught:
            Segment(file, first, camera="cam1", started_at=NOON)
    finally:
        file.close()
    return str(caught.value)


def test_a_file_cannot_begin_without_parameter_sets(tmp_path: Path) -> None:
    first = sent_apart("libx264", "h264")[0]
    bare = replace(first, track=replace(first.track, extradata=b""))
    assert refused(tmp_path / "a.mp4", bare) == "its h264 video came without parameter sets"


def test_a_codec_that_no_file_holds_is_one_sentence(tmp_path: Path) -> None:
    first = packets(1)[0]
    strange = replace(first, track=replace(first.track, codec="no_such_codec"))
    assert refused(tmp_path / "a.mkv", strange) == "its no_such_codec video cannot be copied into a file"


@pytest.mark.parametrize("encoder", ["libx264", "libvpx"])
def test_what_the_beginning_points_to_is_on_the_disk_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str
) -> None:
    path = tmp_path / f"it{suffix_of(packets(25, codec=encoder)[0].track.codec)}"
    on_disk: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _descriptor: on_disk.append(path.read_bytes()))
    write(path, packets(25, codec=encoder))
    closed = path.read_bytes()
    assert [len(data) for data in on_disk] == [len(closed)]
    assert on_disk[0] != closed
    path.write_bytes(on_disk[0])  # the power is cut here
    assert numbers(path) == list(range(25))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_says_what_it_is(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, packets(5, codec="libx264" if suffix == ".mp4" else "libvpx-vp9"))
    with av.open(str(path)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert (tags["title"], tags["date"]) == ("cam1", "2026-01-01T12:00:00+00:00")


@given(st.binary(max_size=60), st.binary(max_size=60), st.booleans(), st.sampled_from(["h264", "hevc", "mpeg4"]))
def test_no_bytes_of_a_camera_stop_the_reading_of_parameter_sets(
    extradata: bytes, data: bytes, record: bool, codec: str
) -> None:
    track = VideoTrack(codec, 64, 48, Fraction(1, TICKS), Fraction(25), (b"\x01" if record else b"") + extradata)
    packet = EncodedPacket(track, data, 0, 0, True, 0.0)
    assert isinstance(InBand(track).data(packet), bytes)
    InBand(track).can_begin(packet)
