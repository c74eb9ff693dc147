"""What is asked and what is answered, apart from how it travels."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cloud.errors import ItemError
from cloud.refiners.base import Opinion
from models.classifier import Guess
from stream.frame import ModelIdentity
from stream.wire import Item

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class Question:
    """A crop and what the edge takes it for. ``key`` names it for ever; ``item`` is all that the edge said of it, which
    changes no answer."""

    key: str
    jpeg: bytes
    edge_class: str
    item: Item | None = None

    @cached_property
    def digest(self) -> bytes:
        """Tells questions apart that come under the same key."""
        return hashlib.sha256(self.edge_class.encode("utf-8", "replace") + b"\0" + self.jpeg).digest()

    @property
    def jpeg_sha256(self) -> str:
        """The crop's own hash, in hexadecimal."""
        return hashlib.sha256(self.jpeg).hexdigest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The refiner's opinion of a crop, and whose it is."""

    opinion: Opinion
    model: ModelIdentity


Outcome = Verdict | ItemError


def encode(outcome: Outcome) -> str:
    """As it is stored."""
    if isinstance(outcome, ItemError):
        return _dumps({"error": [outcome.code, str(outcome)]})
    return _dumps(as_dict(outcome))


def as_dict(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON values: its opinion and its model."""
    said, model = verdict.opinion, verdict.model
    top = [{"label": guess.label, "probability": guess.probability} for guess in said.top]
    return {
        "opinion": {"label": said.label, "confidence": said.confidence, "agreement": said.agreement, "top": top},
        "model": {"name": model.name, "version": model.version, "sha256": model.sha256, "signer": model.signer},
    }


def decode(text: str) -> Outcome:
    """What :func:`encode` made."""
    content: dict[str, Any] = json.loads(text)
    if "error" in content:
        code, sentence = content["error"]
        return ItemError(code, sentence, retry=False)
    said = content["opinion"]
    top = tuple(Guess(**guess) for guess in said["top"])
    opinion = Opinion(said["label"], said["confidence"], top, said["agreement"])
    return Verdict(opinion, ModelIdentity(**content["model"]))
