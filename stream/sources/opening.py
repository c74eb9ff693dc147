"""Opening local media files: the one place where libav's refusals become sentences."""

from __future__ import annotations

import stat
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from stream.errors import NoVideoError, SourceError

MAX_PICTURE_PX = 1 << 27
"""Larger pictures are refused: 134 megapixels is beyond any camera, and decoding one takes over 200 MB."""


def open_file(path: Path) -> InputContainer:
    """Open a media file for reading; the caller closes it.

    Raises:
        SourceError: it is missing, empty, unreadable, or not a media file.
    """
    if path.is_dir():
        raise SourceError(f"{path} is a folder without a video file; name a file, or a folder that holds some")
    try:
        str(path).encode()  # a name that is not UTF-8 can stand in no prediction
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{path} is a pipe or a device, not a file; save it to a file first")
        if status.st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes); was the copy or the recording finished?")
        # Nothing but local files is reached, whatever a playlist inside may name.
        container = av.open(
            f"file:{path}", options={"protocol_whitelist": "file,crypto,data"}, metadata_errors="replace"
        )
    except FileNotFoundError as exc:
        raise SourceError(f"{path} does not exist; check the spelling of the path") from exc
    except PermissionError as exc:
        raise SourceError(f"{path} may not be read by this user; check its permissions") from exc
    except av.error.InvalidDataError as exc:
        raise SourceError(
            f"{path} is not a video that can be read: it is damaged, cut off before its index was written, "
            "or not a media file at all; 'ffmpeg -i' or a player will say the same"
        ) from exc
    except UnicodeError as exc:
        raise SourceError(f"{str(path)!a} has a name that is not UTF-8; rename it") from exc
    except (av.error.FFmpegError, OSError) as exc:
        raise SourceError(f"{path} cannot be opened: {exc.strerror or exc}") from exc
    return container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The video to decode: the first that is not a cover picture.

    Raises:
        NoVideoError: there is none, or no decoder for it.
    """
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        covers = len(container.streams.video)
        kinds = sorted({s.type for s in container.streams if s.type != "video"}) + ["a cover picture"] * bool(covers)
        raise NoVideoError(
            f"{path} holds no video, only {' and '.join(kinds) or 'nothing'}; name a file with a picture"
        )
    stream = streams[0]
    context = stream.codec_context
    # A codec libav cannot name or size has no usable context, or one that says 0x0.
    if context is None or context.width < 1 or context.height < 1:
        raise NoVideoError(f"{path} holds a video whose format cannot be decoded; convert it to H.264 first")
    if context.width * context.height > MAX_PICTURE_PX:
        raise NoVideoError(f"{path} has pictures of {context.width}x{context.height}, more than can be decoded safely")
    return stream
