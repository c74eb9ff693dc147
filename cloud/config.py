"""The refiner's settings: what ``videodisco cloud`` does, from a file or from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from models.spec import Preparation
from models.trust.policy import TrustSettings
from stream.config import Secret, Settings
from stream.dataset.settings import USUAL_STRATEGIES, DatasetSettings, Strategy
from stream.http.settings import HttpSettings, LimitSettings
from stream.telemetry import MlflowSettings
from stream.wire import MAX_ITEMS, MAX_TOP_K

PORT = 8000


class CloudLimitSettings(LimitSettings):
    """How much one client and all together may ask for."""

    parts: int = Field(
        MAX_ITEMS + 1, ge=1, le=10_000, description="Parts of a multipart body: the crops and their list."
    )


class CloudHttpSettings(HttpSettings):
    """The refiner's door."""

    port: int = Field(PORT, ge=0, le=65_535, description="Port to listen on; 0: a free one.")
    limits: CloudLimitSettings = CloudLimitSettings()


class EndpointSettings(Settings):
    """An HTTP service of your own: it gets each crop as a JPEG and answers {"label": ..., "confidence": ...}."""

    url: Secret = Field(description="Where crops are posted to; best as ${NAME} when it holds a secret.")
    token: Secret | None = Field(None, description="Sent as Authorization: Bearer; best as ${NAME}.")
    name: str = Field("", max_length=100, description="What to call it in answers; empty: its host.")
    version: str = Field("", max_length=100, description="Its version, in answers.")
    timeout_s: float = Field(2.0, gt=0, le=60, allow_inf_nan=False, description="It answers a crop within this.")
    connections: int = Field(2, ge=1, le=64, description="Batches that are there at a time.")

    @field_validator("url")
    @classmethod
    def _is_web_address(cls, url: Secret) -> Secret:
        parts = urlsplit(url.get_secret_value())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the address must begin with http:// or https:// and name a host")
        return url


class RefinerSettings(Settings):
    """Who looks again."""

    kind: Literal["classifier", "detector", "endpoint"] = Field(
        "classifier", description="A network that names a picture, one that finds objects in it, or a service of yours."
    )
    model: str = Field("auto", description="A model's name, or the path of an ONNX file; auto: the bundled classifier.")
    labels: Path | None = Field(
        None, description="A text file with a label a line, where the classifier's own metadata names none."
    )
    mean: tuple[float, float, float] | None = Field(
        None, description="Subtracted from the levels 0 to 255 of each channel, where the metadata does not say."
    )
    std: tuple[float, float, float] | None = Field(None, description="What they are divided by.")
    rgb: bool = Field(default=True, description="Whether mean, std and the network count channels red first.")
    device: Literal["auto", "cpu", "cuda", "coreml", "openvino"] = Field("auto", description="Where the model runs.")
    workers: int | None = Field(None, ge=1, le=256, description="Batches at a time; empty takes one a usable core.")
    top_k: int = Field(5, ge=1, le=MAX_TOP_K, description="Labels in an answer, best first.")
    finer_names: Mapping[str, tuple[str, ...]] = Field(
        {},
        description="By class of the edge, which labels of the model are finer names of it; beside ImageNet's.",
    )
    endpoint: EndpointSettings | None = Field(None, description="The service of yours, for kind: endpoint.")

    @property
    def preparation(self) -> Preparation | None:
        """How the network wants its pixels, where the settings say."""
        if self.mean is None and self.std is None and self.rgb:
            return None
        return Preparation(rgb=self.rgb, mean=self.mean or Preparation().mean, std=self.std or Preparation().std)

    @model_validator(mode="after")
    def _endpoint_is_there(self) -> RefinerSettings:
        if (self.kind == "endpoint") != (self.endpoint is not None):
            raise ValueError("kind: endpoint and the section endpoint, with its url, belong together")
        if self.endpoint is not None and self.finer_names:
            raise ValueError("finer_names: an endpoint says itself how far it agrees")
        if self.kind == "detector" and self.model == "auto":
            raise ValueError("name the detector: model")
        if self.std is not None and 0 in self.std:
            raise ValueError("std: nothing can be divided by 0")
        return self


class BatchSettings(Settings):
    """How crops are put together, and how many may wait."""

    max_size: int = Field(8, ge=1, le=256, description="Crops in a batch; 1: each on its own.")
    max_wait_ms: float = Field(
        4.0, ge=0, le=1000, allow_inf_nan=False, description="How long the first of a batch waits for company."
    )
    queue: int = Field(256, ge=1, le=100_000, description="Crops in the house at a time; more are refused with 429.")
    deadline_s: float = Field(
        5.0, gt=0, le=300, allow_inf_nan=False, description="A crop is answered within this, or not at all."
    )
    decoders: int = Field(2, ge=1, le=64, description="Threads that decode crops.")


class CropSettings(Settings):
    """What a crop may measure; its header is looked at before it is decoded."""

    min_side_px: int = Field(8, ge=1, le=10_000, description="Its shorter side.")
    max_megapixels: float = Field(4.0, gt=0, le=100, allow_inf_nan=False, description="Its width times its height.")


class ResultSettings(Settings):
    """Answers are kept, so that what is asked twice (by a client whose connection broke) is answered once."""

    path: Path | None = Field(None, description="SQLite file; empty: cloud/results.db in the state folder.")
    keep_hours: float = Field(72, gt=0, le=24 * 366, allow_inf_nan=False, description="How long.")
    max_rows: int = Field(1_000_000, ge=1, le=100_000_000, description="How many; the oldest go.")


class SampleSettings(Settings):
    """Predictions written down to be looked at later, without pictures."""

    share: float = Field(0.01, ge=0, le=1, allow_inf_nan=False, description="The part of all answers; 0: none.")
    max_mb: int = Field(16, ge=1, le=4096, description="A file of this size is begun anew and goes to MLflow.")
    keep: int = Field(3, ge=1, le=100, description="Older files that stay.")


class CloudDatasetSettings(DatasetSettings):
    """Keeping crops to learn from, with their answers. They are pictures of others' places: ask first."""

    what: Literal["crops"] = Field("crops", description="Whole frames never come here.")
    sampling_strategies: tuple[Strategy, ...] = Field(
        tuple(each for each in USUAL_STRATEGIES if each.type != "low_agreement_track"),
        min_length=1,
        max_length=100,
        description="Which crops; the first that fits takes it.",
    )

    @model_validator(mode="after")
    def _tracks_are_not_known_here(self) -> CloudDatasetSettings:
        if any(each.type == "low_agreement_track" for each in self.sampling_strategies):
            raise ValueError("low_agreement_track is for edges: the refiner sees single crops, and no tracks")
        return self


class CloudSettings(Settings):
    """All of ``videodisco cloud``."""

    http: CloudHttpSettings = CloudHttpSettings()
    refiner: RefinerSettings = RefinerSettings()
    batches: BatchSettings = BatchSettings()
    crops: CropSettings = CropSettings()
    results: ResultSettings = ResultSettings()
    samples: SampleSettings = SampleSettings()
    dataset: CloudDatasetSettings = CloudDatasetSettings()
    project: Path = Field(Path("runs"), description="Folder of this process's run and of the local MLflow store.")
    name: str = Field("cloud", min_length=1, max_length=100, pattern=r"^[^/\\]+$", description="Name of the run.")
    mlflow: MlflowSettings = MlflowSettings()
    trust: TrustSettings = TrustSettings()


def with_token(values: Mapping[str, Any], token: str) -> dict[str, Any]:
    """``values``, not validated yet, with one more token that may ask, unless it is among them."""
    http = dict(values.get("http") or {})
    tokens = list(http.get("tokens") or ())
    if not any(isinstance(each, Mapping) and each.get("token") == token for each in tokens):
        tokens.append({"name": "command line", "token": token})
    return {**values, "http": {**http, "tokens": tokens}}
