"""The class words of a configuration: one that no model knows would count nothing, hide nothing and say nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from stream.errors import UsageError

if TYPE_CHECKING:
    from edge.cameras.settings import CameraSettings
    from edge.config import RunSettings

_POLICY_KEYS = ("classes", "always_analyze", "deny")


def class_number(word: str, names: Sequence[str]) -> int:
    """The number of a class that is called by its name, in any case, or its number. Raises UsageError."""
    folded = {name.casefold(): number for number, name in reversed(list(enumerate(names)))}
    if word.casefold() in folded:
        return folded[word.casefold()]
    if word.isdecimal():
        if not names or int(word) < len(names):
            return int(word)
        raise UsageError(f"there is no class {word}: the model has {len(names)}, numbered from 0 to {len(names) - 1}")
    close = difflib.get_close_matches(word.casefold(), folded, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"the model knows {', '.join(names)}"
    raise UsageError(f"there is no class '{word}'; {hint}")


def check_camera(name: str, camera: CameraSettings, names: Sequence[str]) -> None:
    """Raises UsageError for a word of the camera's own that is no class of its model, which knows ``names``."""
    _check(((f"camera '{name}', {place}", words) for place, words in _own_words(camera)), [names])


def check_run(settings: RunSettings, models: Iterable[Sequence[str]]) -> None:
    """The same for words that count for all sources: each must be a class of one of the models at least."""
    _check(_shared_words(settings), list(models))


def _own_words(camera: CameraSettings) -> Iterator[tuple[str, Sequence[str]]]:
    yield from ((f"zone '{each.name}'", each.classes) for each in camera.zones)
    yield from ((f"line '{each.name}'", each.classes) for each in camera.lines)
    yield "events.classes", camera.events.classes
    for key in _POLICY_KEYS if camera.escalate else ():
        yield f"escalate.{key}", getattr(camera.escalate, key) or ()


def _shared_words(settings: RunSettings) -> Iterator[tuple[str, Sequence[str]]]:
    for key in _POLICY_KEYS if settings.escalation.enabled else ():
        yield f"escalation.policy.{key}", getattr(settings.escalation.policy, key)
    for strategy in settings.dataset.sampling_strategies if settings.dataset.enabled else ():
        yield f"dataset, strategy '{strategy.name}'", getattr(strategy, "selected_class_names", ())


def _check(places: Iterable[tuple[str, Sequence[str]]], models: Sequence[Sequence[str]]) -> None:
    for place, words in places:
        for word in words:
            troubles = [trouble for names in models if (trouble := _trouble(word, names))]
            if troubles and len(troubles) == len(models):
                raise UsageError(f"{place}: {troubles[0]}")


def _trouble(word: str, names: Sequence[str]) -> str:
    try:
        class_number(word, names)
    except UsageError as exc:
        return str(exc)
    return ""
