"""The refiner that the settings ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cloud.config import CloudSettings, RefinerSettings
from cloud.refiners.base import MAX_LABEL_LENGTH, Refiner
from models.catalogue import AUTO, find
from stream.errors import UsageError
from stream.frame import ModelIdentity
from stream.machine import usable_cores

MAX_LABELS = 100_000
"""Lines of a file of labels; more is some other file."""


def make_refiner(settings: CloudSettings) -> Refiner:
    """Load the model, if it is one of ours to run.

    Raises:
        ModelError: it cannot be found, is refused, or is no such model.
        UsageError: the file of labels cannot be read.
    """
    wanted = settings.refiner
    if wanted.endpoint is not None:
        from cloud.refiners.endpoint import EndpointRefiner

        return EndpointRefiner(wanted.endpoint, max_batch=settings.batches.max_size, k=wanted.top_k)
    cores = usable_cores()
    workers = wanted.workers or cores
    threads = max(1, cores // workers)
    if wanted.kind == "detector":
        from cloud.refiners.detector import DetectorRefiner

        model = find(wanted.model, settings.trust)
        return DetectorRefiner(
            model,
            finer_names=wanted.finer_names,
            device=wanted.device,
            workers=workers,
            threads=threads,
            k=wanted.top_k,
        )
    return _classifier(settings, workers, threads)


def _classifier(settings: CloudSettings, workers: int, threads: int) -> Refiner:
    from cloud.refiners.classifier import ClassifierRefiner
    from models.classifier import default_classifier, open_classifier

    wanted = settings.refiner
    model = find(default_classifier() if wanted.model == AUTO else wanted.model, settings.trust)
    classifier = open_classifier(
        model,
        device=wanted.device,
        threads=threads,
        labels=_labels(wanted),
        preparation=wanted.preparation,
    )
    identity = ModelIdentity(model.name, model.version, model.sha256, model.signer)
    return ClassifierRefiner(
        classifier,
        identity,
        finer_names=wanted.finer_names,
        workers=workers,
        max_batch=settings.batches.max_size,
        k=wanted.top_k,
    )


def _labels(wanted: RefinerSettings) -> Sequence[str] | None:
    return None if wanted.labels is None else read_labels(wanted.labels)


def read_labels(path: Path) -> tuple[str, ...]:
    """A label a line, numbered from 0; what is empty at the end does not count.

    Raises:
        UsageError: it cannot be read, holds an empty line among others, or far too many.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except OSError as exc:
        raise UsageError(f"the labels {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"the labels {path} are no UTF-8 text") from exc
    labels = tuple(line.strip() for line in lines)
    if not labels or not all(labels) or max(map(len, labels)) > MAX_LABEL_LENGTH or len(labels) > MAX_LABELS:
        raise UsageError(f"the labels {path} must be a label a line, none empty or over {MAX_LABEL_LENGTH} characters")
    return labels
