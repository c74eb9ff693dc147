"""How a run is told to MLflow: settings here, the frame process's side in ``journal``, delivery in ``courier``.

The frame process writes records to a spool on disk and never imports mlflow. A child process delivers them.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from stream.config import Settings

# The first two are MLflow's own; the third is read by Ultralytics' tools.
_ENVIRONMENT = {"uri": "MLFLOW_TRACKING_URI", "experiment": "MLFLOW_EXPERIMENT_NAME", "run_name": "MLFLOW_RUN"}


class MlflowSettings(Settings):
    """Whether, where and how often a run is logged to MLflow."""

    enabled: bool = Field(default=True, description="Log runs to MLflow.")
    uri: str | None = Field(
        None, description="Tracking server or store; without one, a SQLite file in the project folder."
    )
    ui_url: str | None = Field(
        None,
        max_length=2000,
        pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$",
        description="Where people see MLflow's pages, for links to them; empty takes a uri that is http(s).",
    )
    experiment: str = Field("videodisco", min_length=1, max_length=250, description="The MLflow experiment.")
    run_name: str | None = Field(
        None, max_length=250, description="The MLflow run's name; without one, that of the run's folder."
    )
    window_s: float = Field(10.0, ge=0.5, le=600, description="Length of a rolling window: one batch of metrics each.")
    keep_days: int | None = Field(
        None, ge=1, le=3650, description="Of a run that goes on for days, each day a child run: how many are kept."
    )
    wait: bool = Field(
        default=False,
        description="Wait at the end until the run is delivered instead of leaving it to the child. For containers.",
    )
    flush_s: float = Field(15.0, ge=0, le=600, description="How long the end of a run waits for delivery.")
    spool_max_mb: int = Field(64, ge=1, le=4096, description="What may wait on disk for a server that is down.")

    def with_environment(self, environment: Mapping[str, str]) -> MlflowSettings:
        """With the usual environment variables filled in for what was not set explicitly."""
        found = {
            field: environment[name]
            for field, name in _ENVIRONMENT.items()
            if field not in self.model_fields_set and environment.get(name)
        }
        return MlflowSettings.model_validate(self.model_dump(exclude_unset=True) | found)
