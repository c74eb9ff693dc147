"""Settings: frozen values that refuse unknown keys, read from YAML with ``${NAME}`` from the environment."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError

from stream.errors import UsageError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

_BOOLEAN = "tag:yaml.org,2002:bool"

# Values of such keys are not repeated in errors.
_SECRET_KEY = re.compile(r"pass|secret|token|key|url|source", re.IGNORECASE)


class Settings(BaseModel):
    """Base of every section of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def _as_text(value: object) -> object:
    """YAML reads a password of digits as a number; complaining of it would print it."""
    return str(value) if isinstance(value, int | float) else value


Secret = Annotated[SecretStr, BeforeValidator(_as_text)]
"""A text that is never shown: not in errors, not in logs, not in a run's config.yaml, not in a fingerprint. Compare
settings that hold one by ``==``: two that differ in a secret alone have the same fingerprint."""

S = TypeVar("S", bound=Settings)


def load_yaml(path: Path, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read a YAML mapping and fill in ``${NAME}``.

    Raises:
        UsageError: the file is missing, is not YAML or not a mapping, or names a variable that is not set.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"cannot read the configuration {path}: {_reason(exc)}") from exc
    try:
        content = yaml.load(text, _Loader)  # noqa: S506 - a safe loader, made stricter
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        mark = getattr(exc, "problem_mark", None)
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UsageError(f"{path} is not valid YAML{place}: {getattr(exc, 'problem', None) or exc}") from exc
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path} must hold a mapping of settings, it holds a {type(content).__name__}")
    return {
        str(key): _fill(value, os.environ if environment is None else environment) for key, value in content.items()
    }


def build(kind: type[S], values: Mapping[str, Any], *, origin: str) -> S:
    """Validate ``values`` as ``kind``; ``origin`` (a file, "the command line") is named in the error.

    Raises:
        UsageError: with every wrong key, its place and what is allowed.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as exc:
        raise UsageError(f"{origin}: " + "; ".join(_problem(error) for error in own_problems(exc.errors()))) from exc


def own_problems(errors: Sequence[Any]) -> list[Any]:
    """Pydantic's errors without those that only follow from another one: a list whose wrong members do not count."""
    places = [error["loc"] for error in errors]

    def follows(error: Any) -> bool:
        depth = len(error["loc"])
        return error["type"] == "too_short" and any(
            len(place) > depth and place[:depth] == error["loc"] for place in places
        )

    return [error for error in errors if not follows(error)]


def wording(error: Any) -> str:
    """What one of Pydantic's errors says, in words of a configuration."""
    if error["type"] == "tuple_type":
        return "input should be a list"
    if error["type"] == "union_tag_not_found":
        return f"it needs the key {error['ctx']['discriminator']}" if "ctx" in error else "its kind is missing"
    message = str(error["msg"]).removeprefix("Value error, ").replace("Tuple should", "list should")
    return f"{message[:1].lower()}{message[1:]}"


def fingerprint(settings: Settings) -> str:
    """A short hash of the settings, the same for the same values."""
    canonical = json.dumps(settings.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def to_yaml(settings: Settings) -> str:
    """The settings as YAML that :func:`load_yaml` and :func:`build` read back."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the keys of ``over`` laid over it, within its sections too."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return result


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a command that were given: those that are not None, in sections that hold any."""
    sections = {key: given(value) if isinstance(value, Mapping) else value for key, value in options.items()}
    return {key: value for key, value in sections.items() if value is not None and value != {}}


class _Loader(yaml.SafeLoader):
    """Plain values only, and no aliases: nothing here needs them, and a few lines of them fill the memory.

    As in YAML 1.2 only true and false are truth values: ``motion: off`` and a camera called ``no`` are words.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - the parent's mapping, replaced for this class
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) cannot be used here")
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver(_BOOLEAN, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def _problem(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key '{place}'"
    # A whole section is not repeated: it is long, and other keys of it may be secret.
    shown = isinstance(error["input"], (str, int, float)) and not _SECRET_KEY.search(str(error["loc"][-1:]))
    got = f" (got {error['input']!r})" if shown else ""
    return (f"{place}: " if place else "") + wording(error) + got


def _fill(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, environment) for item in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _lookup(match.group(1), environment), value)
    return value


def _lookup(name: str, environment: Mapping[str, str]) -> str:
    if name not in environment:
        raise UsageError(f"the configuration uses ${{{name}}}, but the environment has no variable {name}")
    return environment[name]


def _reason(exc: OSError | UnicodeDecodeError) -> str:
    if isinstance(exc, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return exc.strerror or str(exc)
