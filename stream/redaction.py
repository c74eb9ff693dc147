"""Credentials are taken out of URLs wherever text leaves the program: logs, errors, metrics, files."""

from __future__ import annotations

import logging
import re

HIDDEN = "***"

# A URL ends at a space or at what quotes it, or where the next one of a list (or of a query) begins.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*://"
_URL = re.compile(rf"({_SCHEME})((?:(?![,;|=({{\[]{_SCHEME})[^\s\"<>`])+)")
# A URL that was percent-encoded as a whole, as the value of a query or the name of a file.
_ENCODED_USERINFO = re.compile(r"(%3a%2f%2f)[^\s\"<>&]*(%40)", re.IGNORECASE)
# Cameras take credentials in the query and, some, in the path: /user=admin&password=x&channel=1.
_SECRET = r"(?:pass|pwd|token|secret|auth|sig|cred|key|user|usr|login|session)"  # noqa: S105 # names, not a secret
_SECRET_VALUE = re.compile(rf"([?&;/#_](?:[^=?&;/#]*{_SECRET}[^=?&;/#]*|[up])=)[^&]*", re.IGNORECASE)
# What a host may end with; anything else behind a colon is the beginning of a password.
_PORT = re.compile(r"(:[0-9]*|\])$")
_QUERY = re.compile(r"\?[\w.\-\[\]%]+=")


def redact_url(text: str) -> str:
    """``text`` with the credentials of every URL in it replaced by ``***``; idempotent.

    Passwords with raw ``:``, ``/``, ``@``, ``?`` or ``#`` are found as well. In doubt more is hidden rather than less:
    then the host may go with the password. ``file:`` URLs and text without a URL are left as they are.
    """
    return _ENCODED_USERINFO.sub(rf"\1{HIDDEN}\2", _URL.sub(_redacted, text))


class RedactingFilter(logging.Filter):
    """Redacts the message, the traceback and the stack of every record; never drops one."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact_url(_message(record)), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact_url(record.exc_text)
        if record.stack_info:
            record.stack_info = redact_url(record.stack_info)
        return True


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        # logging would print the arguments of a bad format string as they are.
        return f"{record.msg} {record.args}"


def _redacted(match: re.Match[str]) -> str:
    scheme, rest = match.groups()
    if scheme.lower() == "file://":
        return match.group()
    hidden = _userinfo_length(rest)
    return scheme + (HIDDEN if hidden else "") + _SECRET_VALUE.sub(rf"\1{HIDDEN}", rest[hidden:])


def _userinfo_length(rest: str) -> int:
    """How much of what follows ``scheme://`` is the user and password.

    By the standard they end at the first ``@`` before any ``/``; people paste passwords as they are, so that
    the last ``@`` counts once something looks like credentials. An ``@`` in the path or in a query does not.
    """
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority or (":" in authority and not _PORT.search(authority)):
        return max(0, rest.rfind("@"))
    query = _QUERY.search(rest)
    head = rest[: query.start()] if query else rest
    end = max(0, head.rfind("@"))
    return end if ":" in head[:end] else 0
