"""Pixels in memory that parent and child share, as large as the stream's pictures need.

The memory is the parent's: it makes it, alone makes it larger, and seals it against being made smaller, which would
kill whoever reads what is no more. Where the system has no such memory, pixels travel as the messages do.
"""

from __future__ import annotations

import math
import mmap
import os
import sys
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stream.frame import Frame, NetworkView, Pixels
from stream.geometry import Letterbox
from stream.isolation.messages import ProtocolError
from stream.sources.opening import MAX_PICTURE_PX

SLOTS_BYTES = 64 << 20
LEAST_SLOTS, MOST_SLOTS = 5, 12
"""Frames there is room for: half a second of 720p while the parent is busy, a moment of anything larger. Slots that
never were needed cost nothing."""

_PAGE_BYTES = 4096


@dataclass(frozen=True)
class Layout:
    """How frames of one size lie in the memory: slot by slot, in each the whole picture and then the network's."""

    width: int
    height: int
    view: NetworkView | None
    slots: int

    @classmethod
    def of(cls, width: int, height: int, view: NetworkView | None) -> Layout:
        """With as many slots as are sensible. Raises ProtocolError for pictures of an absurd size."""
        if width * height > MAX_PICTURE_PX:
            raise ProtocolError(f"pictures of {width}x{height}")
        one = cls(width, height, view, 1).slot_bytes
        return cls(width, height, view, min(MOST_SLOTS, max(LEAST_SLOTS, SLOTS_BYTES // one)))

    @cached_property
    def letterbox(self) -> Letterbox | None:
        view = self.view
        return Letterbox.fit(self.width, self.height, view.width, view.height, view.placement) if view else None

    @cached_property
    def picture_shape(self) -> tuple[int, int, int]:
        return self.height, self.width, 3

    @cached_property
    def network_shape(self) -> tuple[int, int, int]:
        return (self.view.height, self.view.width, 3) if self.view else (0, 0, 3)

    @cached_property
    def picture_bytes(self) -> int:
        return math.prod(self.picture_shape)

    @cached_property
    def network_bytes(self) -> int:
        return math.prod(self.network_shape)

    @cached_property
    def slot_bytes(self) -> int:
        """Whole pages."""
        return -(-(self.picture_bytes + self.network_bytes) // _PAGE_BYTES) * _PAGE_BYTES

    @property
    def total_bytes(self) -> int:
        return self.slots * self.slot_bytes


class ParentMemory:
    """The parent's side. ``fd`` is to be inherited by the child; None where the system has no such memory, and pixels
    travel ``inline``."""

    def __init__(self, *, shared: bool) -> None:
        self.fd = _sealed_memory() if shared else None
        self.inline = self.fd is None
        self._map: mmap.mmap | None = None
        self._bytes = 0

    def hold(self, layout: Layout) -> None:
        """Make room. Raises OSError when there is no memory."""
        if self.fd is None or layout.total_bytes <= self._bytes:
            return
        os.ftruncate(self.fd, layout.total_bytes)
        self._unmap()
        self._map = mmap.mmap(self.fd, layout.total_bytes, prot=mmap.PROT_READ)
        self._bytes = layout.total_bytes

    def pixels(
        self, layout: Layout, slot: int | None, payload: bytearray, *, picture: bool, network: bool
    ) -> tuple[Pixels | None, Pixels | None]:
        """The whole picture and the network's, copied: nobody else can change them. Raises ProtocolError."""
        inline = self.inline
        if len(payload) != (picture * layout.picture_bytes + network * layout.network_bytes) * inline:
            raise ProtocolError(f"{len(payload)} bytes beside a frame")
        if slot is None or slot >= layout.slots or not (inline or self._map):
            raise ProtocolError(f"pixels in slot {slot}")
        source = payload if self._map is None else self._map
        begin = 0 if inline else slot * layout.slot_bytes
        behind = begin + (0 if inline and not picture else layout.picture_bytes)
        return (
            _copied(source, begin, layout.picture_shape) if picture else None,
            _copied(source, behind, layout.network_shape) if network else None,
        )

    def close(self) -> None:
        self._unmap()
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def _unmap(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None


class ChildMemory:
    """The child's side of the memory that it inherited as ``fd``."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._layout: Layout | None = None
        self._pixels = np.empty(0, np.uint8)

    def hold(self, layout: Layout) -> None:
        """The parent has made room."""
        self._layout = layout
        if layout.total_bytes > self._pixels.size:
            # The old mapping goes with its last view.
            self._pixels = np.frombuffer(mmap.mmap(self._fd, layout.total_bytes), np.uint8)

    def write(self, slot: int, frame: Frame) -> None:
        """Put the frame's pixels where the parent looks for them."""
        layout = self._layout
        if layout is None:
            raise ValueError("the memory is not laid out yet")
        begin = slot * layout.slot_bytes
        if frame.picture is not None:
            self._put(begin, layout.picture_shape, frame.picture)
        if frame.network is not None:
            self._put(begin + layout.picture_bytes, layout.network_shape, frame.network)

    def _put(self, begin: int, shape: tuple[int, int, int], pixels: Pixels) -> None:
        np.copyto(self._pixels[begin : begin + math.prod(shape)].reshape(shape), pixels)


def _sealed_memory() -> int | None:
    if sys.platform != "linux":
        return None
    import fcntl

    fd = os.memfd_create("videodisco-pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return fd


def _copied(source: mmap.mmap | bytearray, begin: int, shape: tuple[int, int, int]) -> Pixels:
    return np.frombuffer(source, np.uint8, math.prod(shape), begin).reshape(shape).copy()
