"""The child's program: ``python -m stream.isolation.child SOCKET MEMORY PARENT`` (two inherited files, a process).

What it is to decode is told through the socket: a command line is there for all to read.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys

from stream.isolation.link import Link, LinkEndedError
from stream.isolation.messages import Start, read_order
from stream.isolation.worker import Worker

ADDRESS_SPACE_BYTES = 8 << 30
"""A stream that wants more than this is stopped by it; 8K is decoded within a quarter."""

FILE_BYTES = 1 << 20
"""The child writes nothing but last words."""

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def main(socket_fd: int, memory_fd: int, parent_pid: int) -> None:
    """Decode for the parent until it hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _bind_to(parent_pid)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, FILE_BYTES)
    _limit(resource.RLIMIT_AS, ADDRESS_SPACE_BYTES)
    with contextlib.suppress(LinkEndedError):
        link = Link(socket.socket(fileno=socket_fd))
        start = read_order(link.receive()[0])
        if isinstance(start, Start):
            Worker(link, memory_fd, start).run()


def _bind_to(parent_pid: int) -> None:
    """Die with the parent, even if the decoder never gives this process a chance to see it gone."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit("the parent is gone already")


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS knows some of them in name only
        resource.setrlimit(kind, (bounded, bounded))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    # A thread may still be inside libav, and would be asked to end for ever.
    os._exit(0)
