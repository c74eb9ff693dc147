"""This process as MLflow hears of it: one run, a batch of figures every window, sampled predictions."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Mapping
from pathlib import Path

from cloud.config import CloudSettings
from stream.config import fingerprint, to_yaml
from stream.errors import OutputError
from stream.frame import ModelIdentity
from stream.telemetry.journal import open_journal_at_home
from stream.telemetry.process import ProcessFigures
from stream.telemetry.records import ArtifactRef, RunDescription

SAMPLES_FOLDER = "predictions"


class RunLog:
    """Says nothing at all where logging is off. Call from one thread, but :meth:`predictions` from any."""

    def __init__(self, settings: CloudSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._journal = open_journal_at_home(settings.mlflow, settings.project)
        self._process = ProcessFigures()
        self._step = 0

    def begin(self, model: ModelIdentity, params: Mapping[str, str]) -> None:
        """The refiner is ready."""
        if self._journal is None:
            return
        identity = {"model_name": model.name, "model_version": model.version, "model_sha256": model.sha256}
        self._journal.begin(
            RunDescription(
                experiment=self._settings.mlflow.experiment,
                run_name=self._settings.mlflow.run_name or self._folder.name,
                started_at=time.time(),
                keep_days=self._settings.mlflow.keep_days,
                params={
                    **identity,
                    "model_signer": model.signer or "nobody",
                    "config_hash": fingerprint(self._settings),
                    "host": platform.node(),
                    "role": "refiner",
                    **params,
                },
                tags=identity,
            )
        )
        self._journal.start_courier()

    def window(self, metrics: Mapping[str, float]) -> None:
        """The figures of one window; those of the process are added."""
        if self._journal is not None:
            self._journal.window({**metrics, **self._process.sample()}, self._step, time.time())
            self._step += 1

    def predictions(self, path: Path) -> None:
        """A file of sampled predictions is complete."""
        if self._journal is not None:
            self._journal.artifact(ArtifactRef(path, SAMPLES_FOLDER))

    def finish(self, summary: Mapping[str, float]) -> None:
        """Hand over the end; returns at once."""
        if self._journal is not None:
            config = ArtifactRef(self._folder / "config.yaml")
            self._journal.finish("FINISHED", summary, time.time(), [config])

    def deliver(self) -> str:
        """See to it that MLflow gets it all; a sentence about what has to wait, empty when nothing does."""
        if self._journal is None:
            return ""
        delivery = self._journal.close() if self._settings.mlflow.wait else self._journal.leave()
        return "" if delivery.complete else delivery.sentence


def make_folder(settings: CloudSettings) -> Path:
    """The run's folder, numbered when the name is taken, with its settings in it.

    Raises:
        OutputError: it cannot be made.
    """
    number = 1
    while True:
        folder = settings.project / (settings.name if number == 1 else f"{settings.name}{number}")
        try:
            folder.mkdir(parents=True)
            (folder / "config.yaml").write_text(to_yaml(settings), encoding="utf-8")
        except FileExistsError:
            number += 1
            continue
        except OSError as exc:
            raise OutputError(f"the folder {folder} cannot be made ({exc.strerror}); choose another project") from exc
        return folder.absolute()


def remove_folder(folder: Path) -> None:
    """Take away what :func:`make_folder` made, where nothing came of it."""
    with contextlib.suppress(OSError):
        (folder / "config.yaml").unlink()
        folder.rmdir()
