"""What this service is, and where else there is something to see of it."""

from __future__ import annotations

import asyncio
from importlib.metadata import version

from pydantic import Field

from edge.service.hub import Hub
from stream.http.endpoints import Call, Endpoint, Result, Wire
from stream.telemetry.destination import page_of


class MlflowAnswer(Wire):
    """The service's run in MLflow."""

    experiment: str
    run_name: str
    run_id: str | None = Field(description="Null before MLflow has heard of the run.")
    url: str | None = Field(description="MLflow's page; null where only the store is known: see mlflow.ui_url.")
    run_url: str | None = Field(description="The run on it.")


class AboutAnswer(Wire):
    """What this service is."""

    version: str
    folder: str = Field(description="The name of the folder that it writes to.")
    mlflow: MlflowAnswer | None = Field(description="Null where nothing is logged.")


class AboutRoom:
    """The endpoint about the service itself."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/about", self.about, "What this service is", answers={200: AboutAnswer}, tag="service"),
        ]

    async def about(self, _: Call) -> Result:
        station = self._hub.running
        return AboutAnswer(
            version=version("videodisco"),
            folder=station.folder.path.name,
            mlflow=await self._mlflow(),
        )

    async def _mlflow(self) -> MlflowAnswer | None:
        station = self._hub.running
        settings = station.settings.mlflow
        if not settings.enabled:
            return None
        run_id = await asyncio.get_running_loop().run_in_executor(None, station.log.mlflow_run_id)
        url = page_of(settings)
        return MlflowAnswer(
            experiment=settings.experiment,
            run_name=settings.run_name or station.folder.path.name,
            run_id=run_id,
            url=url,
            run_url=f"{url}/#/runs/{run_id}" if url and run_id else None,
        )
