"""What is shown of a model: one card, whether it is bundled, on the shelf or a file somewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models import choice
from models.catalogue import FILE, SHELF, Candidate, bundled_names, look_up
from models.shelf import store, trial
from models.shelf.manifest import InputCard
from models.trust.policy import machine_policy, signers_of
from models.trust.signing import can_be_read, key_hint
from stream.errors import ModelError

_UNTRUSTED = "by a key that is not trusted here"
_DOES_NOT_HOLD = "does not hold"
_UNREADABLE = "a signature that cannot be read"
_SHORT = {_UNTRUSTED: "by another key", _DOES_NOT_HOLD: "DOES NOT HOLD", _UNREADABLE: "UNREADABLE"}

MOST_NAMES = 100
"""Shown of a card's classes; JSON has them all."""


@dataclass(frozen=True, slots=True)
class Card:
    """All words of it are ready to be printed."""

    name: str
    where: str
    task: str
    family: str
    classes: tuple[str, ...]
    input: str
    precision: str
    licence: str
    source: str
    path: str
    size_bytes: int
    sha256: str
    signature: str
    speed: str
    pictures_per_s: float | None
    """The fastest that was measured here, None where nothing was."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Broken:
    """A model of the shelf that is not what it was."""

    name: str
    problem: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def all_cards() -> list[Card | Broken]:
    """The bundled models, then those of the shelf."""
    return [_card_or_problem(name) for name in [*bundled_names(), *store.names()]]


def card(name_or_path: str) -> Card:
    """The card of one model.

    Raises:
        ModelError: there is none, or it is refused.
    """
    found = look_up(name_or_path)
    told = _of_file(found) if found.where == FILE else _of_card(found)
    benched, tried = choice.kept_of(found.sha256), trial.kept(found.sha256)
    return Card(
        name=found.name,
        where=found.where,
        path=str(found.path),
        size_bytes=len(found.content),
        sha256=found.sha256,
        signature=signature_of(found, machine_policy().trusted_keys),
        speed="; ".join([*map(_benched, benched), *([str(tried)] if tried else [])]),
        pictures_per_s=benched[0].pictures_per_s if benched else 1e3 / tried.milliseconds if tried else None,
        **told,
    )


def signature_of(found: Candidate, keys: Sequence[Path]) -> str:
    """Who signed a model, as far as these public keys can tell."""
    if not found.offers:
        return "none"
    signers, reasons = signers_of(found.offers, keys)
    if signers:
        return ", ".join(map(str, signers))
    readable = [offer.signature for offer in found.offers if can_be_read(offer.signature)]
    if not readable:
        return _UNREADABLE
    hints = ", ".join(f"sha256:{key_hint(signature)[:16]}" for signature in readable)
    return f"{_DOES_NOT_HOLD}: {reasons[0]}" if reasons else f"{_UNTRUSTED} ({hints})"


def table(cards: Sequence[Card | Broken]) -> Iterator[str]:
    """A line a model under a line of headings."""
    rows: list[tuple[str, ...]] = [
        ("NAME", "TASK", "FAMILY", "CLASSES", "INPUT", "PRECISION", "LICENCE", "MB", "HERE", "SIGNED")
    ]
    rows += [_row(each) for each in cards if isinstance(each, Card)]
    yield from in_columns(rows)
    yield from (f"{each.name}  {each.problem}" for each in cards if isinstance(each, Broken))


def in_columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A line a row, its cells below one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def lines(shown: Card) -> Iterator[str]:
    """A card for people: one thing a line, never wrapped."""
    more = f" and {len(shown.classes) - MOST_NAMES} more" if len(shown.classes) > MOST_NAMES else ""
    classes = ", ".join(shown.classes[:MOST_NAMES]) + more or "not named"
    facts = {
        "name": f"{shown.name} ({shown.where})",
        "task": f"{shown.task}, family {shown.family}",
        "classes": f"{len(shown.classes)}: {classes}" if shown.classes else classes,
        "input": shown.input,
        "precision": shown.precision,
        "licence": shown.licence or "not stated",
        "source": shown.source,
        "file": f"{shown.path}, {shown.size_bytes / 1e6:.1f} MB",
        "sha256": shown.sha256,
        "signature": shown.signature,
        "speed": shown.speed or "not measured here: videodisco models bench",
    }
    width = max(map(len, facts))
    return (f"{name:{width}}  {value}" for name, value in facts.items())


def _card_or_problem(name: str) -> Card | Broken:
    try:
        return card(name)
    except ModelError as exc:
        return Broken(name, str(exc))


def _row(shown: Card) -> tuple[str, ...]:
    signed = next((short for long, short in _SHORT.items() if shown.signature.startswith(long)), shown.signature)
    count = str(len(shown.classes)) if shown.classes else "?"
    precision, licence = (
        shown.precision.partition(":")[0].partition(",")[0],
        shown.licence.partition(" (")[0][:24] or "?",
    )
    size = f"{shown.size_bytes / 1e6:.1f}"
    speed = f"{shown.pictures_per_s:.0f}/s" if shown.pictures_per_s is not None else "?"
    return shown.name, shown.task, shown.family, count, shown.input, precision, licence, size, speed, signed


def _benched(measured: choice.Choice) -> str:
    return (
        f"{measured.pictures_per_s:.1f} pictures of {measured.width}x{measured.height} a second with {measured.device},"
        f" {measured.slots}"
    )


def _of_card(found: Candidate) -> dict[str, Any]:
    told = found.card or {}
    shelved = found.where == SHELF
    return {
        "task": told["task"],
        "family": told["family"],
        "classes": tuple(told["classes"]),
        "input": str(InputCard(**told["input"])) if shelved else _bundled_input(told["input"]),
        "precision": told["precision"],
        "licence": told["licence"],
        "source": _shelved_source(told["source"]) if shelved else _bundled_source(told["source"]),
    }


def _of_file(found: Candidate) -> dict[str, Any]:
    # onnxruntime and the families take a while to import; cards of known models do not need them.
    from models.shelf.adding import described

    if found.survey is None:
        raise ModelError(f"{found.path} was not looked through")
    told = described(found.name, found.content, found.survey)
    return told | {"input": str(told["input"]), "source": "a file of your own"}


def _bundled_input(told: Mapping[str, Any]) -> str:
    height, width = (size if isinstance(size, int) else None for size in told["shape"][1:3])
    return str(InputCard(dtype=told["dtype"], layout="NHWC", height=height, width=width, colour=told["colour"]))


def _bundled_source(told: Mapping[str, Any]) -> str:
    return f"{told['upstream']}, from {told['package']} {told['package_version']}"


def _shelved_source(told: Mapping[str, Any]) -> str:
    vouched = f", {told['verified']}" if told["verified"] else ""
    return f"{told['location']} (sha256 {told['sha256'][:16]}...{vouched})"
