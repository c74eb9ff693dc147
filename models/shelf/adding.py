"""Putting a file on the shelf: looked through, recognised, tried out, and copied with a manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.catalogue import AUTO, bundled_names
from models.families import recognise
from models.files import Checked, read_checked
from models.guard import Survey
from models.session import inspect_unadmitted
from models.shelf import store, trial
from models.shelf.manifest import InputCard, Manifest, SourceCard
from models.shelf.upstream import PULLABLE
from models.spec import InputSpec
from models.trust.policy import read_signature


@dataclass(frozen=True, slots=True)
class Added:
    """``fresh`` is False where the very same model was there already."""

    manifest: Manifest
    fresh: bool


def add(
    path: Path,
    name: str,
    *,
    source: SourceCard | None = None,
    licence: str = "",
    precision: str = "",
    replace: bool = False,
) -> Added:
    """Copy a model file to the shelf under ``name``; a signature beside it (``FILE.sig``) comes along.

    ``licence`` and ``precision`` are for the card, where more is known than the file says.

    Raises:
        UsageError: the name is none, or that of a bundled model.
        ModelError: another model has it, the file is refused, or no family knows it.
        OutputError: the shelf cannot be written.
    """
    store.check_name(name, [AUTO, *bundled_names()])
    checked = read_checked(path)
    known = next((entry for entry in PULLABLE if entry.sha256 == _sha256(checked.content)), None)
    source = source or (known.source() if known else _local(path, checked))
    stated = {"licence": licence or (known.licence if known else ""), "precision": precision}
    manifest = _manifest(name, checked, source, stated)
    if trial.kept(manifest.sha256) is None:
        trial.keep(manifest.sha256, trial.run(name, checked.content))
    fresh = store.put(manifest, checked.content, replace=replace)
    if beside := read_signature(path.with_name(f"{path.name}.sig")):
        store.put_loose_signature(manifest.sha256, beside)
    return Added(manifest, fresh)


def described(name: str, content: bytes, survey: Survey) -> dict[str, Any]:
    """What a card says of a model that is only known by its content.

    Raises:
        ModelError: it is no model of one picture input, or no family knows it.
    """
    spec = inspect_unadmitted(name, content)
    licence = survey.metadata.get("licence", survey.metadata.get("license", ""))
    return {
        "task": spec.task,
        "family": recognise(spec).name,
        "classes": tuple(spec.names),
        "input": _input(spec.input),
        "precision": survey.precision,
        "licence": licence[:1000],
    }


def _manifest(name: str, checked: Checked, source: SourceCard, stated: Mapping[str, str]) -> Manifest:
    told = described(name, checked.content, checked.survey)
    return Manifest(
        name=name,
        source=source,
        size_bytes=len(checked.content),
        sha256=_sha256(checked.content),
        **(told | {key: value for key, value in stated.items() if value}),
    )


def _input(spec: InputSpec) -> InputCard:
    return InputCard(
        dtype=spec.dtype,
        layout=spec.layout,
        height=spec.height,
        width=spec.width,
        colour="rgb" if spec.rgb else "bgr",
    )


def _local(path: Path, checked: Checked) -> SourceCard:
    """A file of the user's own; with its weights beside it, the hash is that of all together."""
    return SourceCard(location=str(path.absolute()), sha256=_sha256(checked.content))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
