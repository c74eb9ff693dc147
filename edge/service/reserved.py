"""What of a configuration only the operator's own file may say, whoever asks over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edge.service.models import known_models
from stream.errors import UsageError
from stream.redaction import redact_url

RESERVED = (
    "sources",
    "trust",
    "output",
    "serve.http",
    "serve.camera_sources",
    "defaults.guard",
    "defaults.record.folder",
    "cameras.*.record.folder",
    "dataset.folder",
    "mlflow.uri",
    "mqtt.ca_file",
    "webhooks.*.ca_file",
    "escalation.client",
)
"""Whatever names a place on this machine, opens the door or lets sources reach further; ``*`` is every entry."""

MODELS = ("detector.model", "defaults.model", "cameras.*.model")
"""Here the path of a file may stand; over HTTP it is a name that is known."""


def refuse_reserved(content: Mapping[str, Any], former: Mapping[str, Any]) -> None:
    """Raise UsageError if ``content`` is another one than ``former`` where only the file itself may change it."""
    for pattern in RESERVED:
        for place, _ in _changes(content, former, pattern.split(".")):
            raise UsageError(f"{place} cannot be changed from here; change it in the configuration file itself")
    known = known_models()
    for pattern in MODELS:
        for place, model in _changes(content, former, pattern.split(".")):
            if model is not None and model not in known:
                raise UsageError(
                    f"{place} is no model that is known here; change it in the configuration file itself "
                    f"or take one of {', '.join(known)}"
                )


def refuse_variables(given: Any, former: Any) -> None:
    """Raise UsageError for a ``${NAME}`` that does not stand in the same place of ``former`` already.

    Otherwise whoever may change a name could read the service's environment, its tokens included. Entries of a list
    may change places.
    """
    known = {spelt for place, text in _texts(former, ()) for spelt in ((place, text), (place, redact_url(text)))}
    for place, text in _texts(given, ()):
        if "${" in text and (place, text) not in known:
            where = ".".join(place)
            raise UsageError(
                f"{where} holds '${{': only the configuration file itself may name variables of the environment"
            )


def _texts(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text and where it stands; all entries of a list stand in one place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, (*place, str(key)))
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner, (*place, "*"))


def _changes(content: Any, former: Any, keys: Sequence[str], place: str = "") -> Iterator[tuple[str, Any]]:
    """Where and to what ``content`` was changed in the places that ``keys`` mean. What is gone was not changed."""
    if not keys:
        if (content or None) != (former or None):
            yield place, content
        return
    key, rest = keys[0], keys[1:]
    if key != "*":
        yield from _changes(_of(content, key), _of(former, key), rest, f"{place}.{key}".strip("."))
    elif isinstance(content, Mapping):
        for name, entry in content.items():
            yield from _changes(entry, _of(former, name), rest, f"{place}.{name}")
    elif isinstance(content, list):
        known = [{}, *former] if isinstance(former, list) else [{}]
        for number, entry in enumerate(content):
            found = [list(_changes(entry, each, rest, f"{place}.{number}")) for each in known]
            yield from found[0] if all(found) else ()


def _of(content: Any, key: str) -> Any:
    return content.get(key) if isinstance(content, Mapping) else None
