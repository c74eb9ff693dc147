"""What looks like the address of a camera and is none yet: no scheme, or a misspelt one."""

from __future__ import annotations

import os
import re

_SCHEMES = r"(rtsps?|rtmps?|https?|udp|rtp|srt)"
_MISSPELT = re.compile(rf"\W*{_SCHEMES}(?:[:;]|//|\\)", re.IGNORECASE)
_USER = re.compile(r"(?!/(?!/)|[.~]|[A-Za-z]:[\\/])[^@]*:.*@|//[^/]*@", re.DOTALL)
_NUMBERS = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+\]"
_NAME = r"(?:[A-Za-z0-9\-]+\.)+"
_ENDINGS = r"(?:local|lan|home|internal|intranet|box|com|net|org)"
_PORT = r":[0-9]{1,5}"
_HOST = re.compile(
    rf"(?P<user>[^/\\]*@)?(?P<host>(?:{_NUMBERS}|{_NAME}{_ENDINGS})(?:{_PORT})?|{_NAME}[A-Za-z]+{_PORT})(?:[/?].*)?",
    re.DOTALL,
)


def mistaken_address(argument: str) -> str | None:
    """In a sentence without any password how to write the address that ``argument`` seems to mean.

    None: it does not look like one, or a file is called so.
    """
    misspelt, found = _MISSPELT.match(argument), _HOST.fullmatch(argument)
    if not (misspelt or found or "://" in argument or _USER.match(argument)) or os.path.lexists(argument):
        return None
    scheme = misspelt.group(1).lower() if misspelt else "rtsp"
    example = f": {scheme}://{found.group('host')}/..." if found and not found.group("user") else ""
    return f"an address begins with {scheme}://{example}; and there is no file of this name"
