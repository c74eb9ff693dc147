"""The audit log: one JSON line for every change that somebody asked for, and for every login."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from stream.http.endpoints import Identity
from stream.redaction import HIDDEN, redact_url

log = logging.getLogger(__name__)

_MAX_BYTES = 16 << 20
_SCHEME_ALONE = re.compile(rf"[a-z][a-z0-9+.\-]*://({re.escape(HIDDEN)})?", re.IGNORECASE)


class AuditLog:
    """Appends to ``path``; when it is large it becomes ``<name>.1`` and is begun anew. Without a path it only logs.

    Writing is done by a thread of its own, in order; ``lost`` counts the lines that could not be written.
    """

    def __init__(self, path: Path | None, *, max_bytes: int = _MAX_BYTES) -> None:
        self.lost = 0
        self._path = path
        self._max_bytes = max_bytes
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")

    async def record(
        self,
        change: str,
        identity: Identity,
        *,
        client: str,
        request_id: str,
        status: int,
        details: Mapping[str, str | float | bool] | None = None,
    ) -> None:
        """Returns once the line is in the file; a file that cannot be written is logged, never raised."""
        hidden = {key: _hidden(v) if isinstance(v, str) else v for key, v in (details or {}).items()}
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "change": change,
            "who": identity.name,
            "role": identity.role.value,
            "how": identity.how,
            "client": client,
            "request_id": request_id,
            "status": status,
            "done": status < 400,
            **({"details": hidden} if hidden else {}),
        }
        text = json.dumps(line, ensure_ascii=False)
        log.info("change: %s", text)
        if self._path is not None:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._append, self._path, text)

    def close(self) -> None:
        self._writer.shutdown(wait=True)

    def _append(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size > self._max_bytes:
                path.replace(path.with_name(f"{path.name}.1"))
            with path.open("a", encoding="utf-8") as file:
                file.write(text + "\n")
        except OSError as exc:
            self.lost += 1
            log.warning("the audit log %s cannot be written: %s", path, exc.strerror)


def _hidden(text: str) -> str:
    """``text`` without credentials. A log is kept for long: here all before the last ``@`` counts as some."""
    head, at, tail = redact_url(text).rpartition("@")
    kept = _SCHEME_ALONE.match(head)
    return f"{kept.group().removesuffix(HIDDEN) if kept else ''}{HIDDEN}@{tail}" if at else tail
