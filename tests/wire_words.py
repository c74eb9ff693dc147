"""One of everything that edge and cloud say to each other, and how a line may mangle it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from hypothesis import strategies as st

from stream.wire import EdgeModel, Guess, Item, Refined, RefinerModel

KEY = "0123456789abcdef"
NOON = datetime(2026, 11, 23, 12, 0, 0, 250_000, UTC)


def item(key: str = KEY, **changes: Any) -> Item:
    values: dict[str, Any] = {
        "key": key,
        "source": "yard",
        "track_id": 7,
        "class_name": "dog",
        "confidence": 0.41,
        "bbox": (10.0, 20.0, 110.5, 90.25),
        "time": NOON,
        "width": 1280,
        "height": 720,
        "model": EdgeModel(name="nanodet-g-416", version="1", sha256="ab" * 32),
    }
    return Item(**(values | changes))


def refined(key: str = KEY) -> Refined:
    return Refined(
        key=key,
        label="golden retriever",
        confidence=0.82,
        top_k=(Guess(label="golden retriever", confidence=0.82), Guess(label="Labrador retriever", confidence=0.11)),
        agreement=0.97,
        model=RefinerModel(name="efficientnet-lite0", version="1", sha256="cd" * 32),
    )


def mangled(body: bytes, rng: np.random.Generator) -> bytes:
    """The body with a few bytes changed, cut out or doubled."""
    for _ in range(rng.integers(1, 5)):
        begin = int(rng.integers(len(body)))
        cut = body[begin : begin + int(rng.choice((1, 2, 30)))]
        middle = (b"", rng.bytes(len(cut)), cut * 2)[rng.integers(3)]
        body = body[:begin] + middle + body[begin + len(cut) :]
    return body


names = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=200)
shares = st.floats(0, 1)
keys = st.text("abcXYZ019_-", min_size=8, max_size=64)
