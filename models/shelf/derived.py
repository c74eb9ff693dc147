"""Models that were made here of an admitted one, before they are on the shelf themselves."""

from __future__ import annotations

from collections import Counter

from models.session import Pixels, Session, open_unadmitted, profile_unadmitted


def open_derived(name: str, content: bytes, shape: tuple[int, int]) -> Session:
    """A session of one thread on the CPU. Raises ModelError where the model cannot be run."""
    return open_unadmitted(name, content, shape)


def operators_run(name: str, content: bytes, pixels: Pixels) -> Counter[str]:
    """The kinds of operations that onnxruntime really runs for a picture. Raises ModelError as above."""
    return profile_unadmitted(name, content, pixels)
