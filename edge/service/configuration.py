"""The configuration as a document that can be read, tried and written over HTTP, without its secrets ever leaving.

What is read shows ``***`` in the place of each secret; writing ``***`` back keeps what was there. The file itself is
read and written with its ``${NAME}`` as they stand; comments in it do not survive a change, so the former file is kept
as ``<name>.bak``.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from edge.cameras.differences import Place
from edge.cameras.settings import CameraSettings
from edge.config import RunSettings
from edge.service.reading import serve_settings
from stream.config import load_yaml, merged
from stream.errors import UsageError
from stream.redaction import HIDDEN, redact_url
from stream.sinks.base import write_failure

Content = dict[str, Any]

_DUMPED_SECRET = "**********"  # noqa: S105 - how pydantic shows one
_VARIABLE = re.compile(r"\$\{\w+\}")
_IDENTITIES = ("name", "url", "host")
"""By these a list's entries are known again when their order changes."""


class ConfigDocument:
    """A configuration file, or, without one, what was set while the service runs. For one thread at a time.

    ``options`` are those of the command line, which win over the file.
    """

    def __init__(self, path: Path | None, options: Mapping[str, Any]) -> None:
        self.path = path
        self.content: Content = {}
        self._options = options

    def load(self) -> RunSettings:
        """Read the file (again). Raises UsageError, SourceError; then what was read before stays."""
        content = load_yaml(self.path, _AsWritten()) if self.path else self.content
        settings = self.settings_of(content)
        self.content = content
        return settings

    def shown(self) -> Content:
        """The content with ``***`` in the place of each secret."""
        dumped = self.settings_of(self.content).model_dump(mode="json")
        hidden: Content = _hidden(self.content, dumped)
        return hidden

    def with_secrets(self, content: Content) -> Content:
        """``content`` with each ``***`` replaced by what stands there now.

        Raises:
            UsageError: nothing secret stands there, or the address it belongs to is another one.
        """
        restored: Content = _restored(content, self.content, "")
        return restored

    # One camera, and the model.

    def has_camera(self, name: str) -> bool:
        return name in (self.content.get("cameras") or {})

    def camera(self, name: str, settings: CameraSettings) -> Content:
        """How a camera stands in the document, or would."""
        if self.has_camera(name):
            return dict(self.content["cameras"][name])
        return settings.model_dump(mode="json", exclude_defaults=True)

    def shown_camera(self, name: str, settings: CameraSettings) -> Content:
        """The same with ``***`` in the place of each secret."""
        shown: Content = _hidden(self.camera(name, settings), settings.model_dump(mode="json"))
        return shown

    def with_camera(self, name: str, entry: Mapping[str, Any] | None) -> Content:
        """The content with this camera, or without it."""
        cameras = {key: value for key, value in (self.content.get("cameras") or {}).items() if key != name or entry}
        return {**self.content, "cameras": {**cameras, name: dict(entry)} if entry else cameras}

    def with_model(self, name: str) -> Content:
        return merged(self.content, {"detector": {"model": name}})

    def with_models_of(self, former: Content, places: Iterable[Place]) -> Content:
        """The content that names in these places the models of ``former``, or none where that has none."""
        content = self.content
        for place in places:
            content = _with_value_of(content, former, place)
        return content

    @staticmethod
    def kept_credentials(source: str, former: str | None) -> str:
        """A source with ``***`` for credentials, with those of the former one. Raises UsageError."""
        return _with_secret(source, former, "source") if HIDDEN in source else source

    def settings_of(self, content: Content) -> RunSettings:
        """What ``content`` means. Raises UsageError, SourceError."""
        with tempfile.TemporaryDirectory(prefix="videodisco-") as folder:
            path = Path(folder) / "config.yaml"
            path.write_text(_yaml(content), encoding="utf-8")
            values = load_yaml(path)
        return serve_settings(values, self._options, origin=self.path.name if self.path else "the configuration")

    def save(self, content: Content) -> bool:
        """Make ``content`` the document; whether it is in a file now, which its owner alone reads. Raises SinkError."""
        if self.path is not None:
            _write(self.path, _yaml(content))
        self.content = content
        return self.path is not None


class _AsWritten(Mapping[str, str]):
    """An environment that leaves every ``${NAME}`` as it is."""

    def __getitem__(self, name: str) -> str:
        return f"${{{name}}}"

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _with_value_of(content: Content, former: Content, place: Place) -> Content:
    """``content`` with what ``former`` has in ``place``; without sections that it does not have and are empty then."""
    key, *inner = place
    rest = {name: value for name, value in content.items() if name != key}
    if not inner:
        return {**content, key: former[key]} if key in former else rest
    section = _with_value_of(content.get(key) or {}, former.get(key) or {}, tuple(inner))
    return {**content, key: section} if section or key in former else rest


def _hidden(written: Any, dumped: Any) -> Any:
    """``written`` without secrets; ``dumped`` are the settings that it gave, in which pydantic hides its own."""
    if isinstance(written, Mapping):
        inner = dumped if isinstance(dumped, Mapping) else {}
        return {key: _hidden(value, inner.get(key)) for key, value in written.items()}
    if isinstance(written, list):
        entries = dumped if isinstance(dumped, list) else []
        return [_hidden(each, entries[n] if n < len(entries) else None) for n, each in enumerate(written)]
    if dumped == _DUMPED_SECRET:
        return written if isinstance(written, str) and _VARIABLE.fullmatch(written) else HIDDEN
    return redact_url(written) if isinstance(written, str) else written


def _restored(given: Any, known: Any, place: str) -> Any:
    if isinstance(given, Mapping):
        inner = known if isinstance(known, Mapping) else {}
        return {key: _restored(value, inner.get(key), f"{place}.{key}".strip(".")) for key, value in given.items()}
    if isinstance(given, list):
        entries = known if isinstance(known, list) else []
        return [_restored(each, _counterpart(each, n, entries), f"{place}.{n}") for n, each in enumerate(given)]
    if not isinstance(given, str) or HIDDEN not in given:
        return given
    return _with_secret(given, known, place)


def _with_secret(given: str, known: Any, place: str) -> str:
    if known is None:
        raise UsageError(f"'{place}' is {HIDDEN}, but there is no secret there to keep: write it")
    text = str(known)
    if given in {HIDDEN, redact_url(text)}:
        return text
    # The rest of an address may change, its host may not: the password would be sent to another one.
    head, _, tail = given.partition(f"{HIDDEN}@")
    shown_head, _, shown_tail = redact_url(text).partition(f"{HIDDEN}@")
    if HIDDEN in tail or "@" in tail or head != shown_head or _host(tail) != _host(shown_tail):
        raise UsageError(f"'{place}' is at another address now: write its user and password again")
    userinfo = text.removeprefix(head)[: -len(shown_tail) - 1] if shown_tail else ""
    if not userinfo or HIDDEN in shown_tail:
        raise UsageError(f"'{place}' cannot be changed in part: write all of it")
    return f"{head}{userinfo}@{tail}"


def _host(location: str) -> str:
    return re.split(r"[/?#]", location, maxsplit=1)[0]


def _counterpart(entry: Any, number: int, known: Sequence[Any]) -> Any:
    """The entry of the former list that this one was."""
    if isinstance(entry, Mapping):
        for key in _IDENTITIES:
            shown = entry.get(key)
            for each in known:
                same = isinstance(each, Mapping) and shown is not None and shown != HIDDEN and each.get(key) == shown
                if same:
                    return each
    return known[number] if number < len(known) else None


def _yaml(content: Content) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _write(path: Path, text: str) -> None:
    """In one step, readable for the owner alone, with the former file beside it. Raises SinkError."""
    real = path.resolve()
    partial = real.with_name(f".{real.name}.part")
    try:
        with contextlib.suppress(FileNotFoundError):
            _write_private(real.with_name(f"{real.name}.bak"), real.read_text(encoding="utf-8"))
        _write_private(partial, text)
        partial.replace(real)
    except OSError as exc:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise write_failure(path, exc) from exc


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
