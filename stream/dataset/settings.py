"""What is kept to learn from, how much of it, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from stream.config import Settings

FOLDER = "dataset"
"""The data set's folder within that of all runs: many runs fill it."""

PERIODS_S = {"minutely": 60.0, "hourly": 3600.0, "daily": 86_400.0}

Kind = Literal["frame", "crop"]
"""Whether a picture is a whole frame or one object of it."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
ClassName = Annotated[str, Field(min_length=1, max_length=200, coerce_numbers_to_str=True)]


class Limit(Settings):
    """At most so many pictures within any minute, hour or day."""

    type: Literal["minutely", "hourly", "daily"] = Field(description="The span of time, wherever it begins.")
    value: int = Field(ge=1, le=100_000, description="So many pictures at most.")

    @property
    def period_s(self) -> float:
        return PERIODS_S[self.type]


class _Strategy(Settings):
    """What all strategies have."""

    name: Name = Field(description="What its pictures are filed under.")
    traffic_percentage: float = Field(
        1.0, gt=0, le=1, allow_inf_nan=False, description="The part of what fits that is taken: 0.1 is a tenth."
    )
    limits: tuple[Limit, ...] = Field((), description="All of them hold, over all cameras together.")
    tags: tuple[Name, ...] = Field((), description="Words that its pictures carry.")


class RandomStrategy(_Strategy):
    """Anything."""

    type: Literal["random"]


class CloseToThresholdStrategy(_Strategy):
    """Objects of which the detector is neither sure nor unsure."""

    type: Literal["close_to_threshold"]
    threshold: Share = Field(0.5, description="The confidence around which pictures are taken.")
    epsilon: Share = Field(0.1, description="And how far from it.")
    selected_class_names: tuple[ClassName, ...] = Field((), description="Classes that count; empty: all.")
    minimum_objects_close_to_threshold: int = Field(1, ge=1, le=1000, description="So many at least.")


class ClassesStrategy(_Strategy):
    """Objects of some classes."""

    type: Literal["classes_based"]
    selected_class_names: tuple[ClassName, ...] = Field(min_length=1, description="The classes.")


class DetectionsNumberStrategy(_Strategy):
    """Few or many objects at a time; of a crop it is always one."""

    type: Literal["detections_number_based"]
    more_than: int | None = Field(None, ge=0, description="More objects than this.")
    less_than: int | None = Field(None, ge=1, description="Fewer objects than this; 1: none at all.")
    selected_class_names: tuple[ClassName, ...] = Field((), description="Classes that count; empty: all.")

    @model_validator(mode="after")
    def _some_number_fits(self) -> DetectionsNumberStrategy:
        if self.more_than is None and self.less_than is None:
            raise ValueError("give more_than, less_than or both")
        if self.more_than is not None and self.less_than is not None and self.less_than - self.more_than < 2:
            raise ValueError(f"no number is more than {self.more_than} and less than {self.less_than}")
        return self


class DisagreementStrategy(_Strategy):
    """Objects that the cloud takes for something else."""

    type: Literal["disagreement"]
    less_than: float = Field(
        0.5, gt=0, le=1, allow_inf_nan=False, description="The cloud agrees with the class by less than this."
    )


class LowAgreementTrackStrategy(_Strategy):
    """Objects whose class changes from frame to frame, or that the cloud's answers on the whole do not confirm."""

    type: Literal["low_agreement_track"]
    less_than: float = Field(
        0.7, gt=0, le=1, allow_inf_nan=False, description="The opinions of a track agree by less than this."
    )


Strategy = Annotated[
    RandomStrategy
    | CloseToThresholdStrategy
    | ClassesStrategy
    | DetectionsNumberStrategy
    | DisagreementStrategy
    | LowAgreementTrackStrategy,
    Field(discriminator="type"),
]

USUAL_STRATEGIES: tuple[Strategy, ...] = (
    DisagreementStrategy(name="disagreement", type="disagreement", limits=(Limit(type="hourly", value=60),)),
    LowAgreementTrackStrategy(
        name="low_agreement_track", type="low_agreement_track", limits=(Limit(type="hourly", value=30),)
    ),
    CloseToThresholdStrategy(
        name="close_to_threshold",
        type="close_to_threshold",
        limits=(Limit(type="minutely", value=4), Limit(type="hourly", value=60)),
    ),
    RandomStrategy(name="random", type="random", traffic_percentage=0.01, limits=(Limit(type="hourly", value=20),)),
)
"""Mostly what is doubtful, and a few of everything so that the data set still looks like the world: 170 an hour."""


class DuplicateSettings(Settings):
    """Which pictures show nothing new."""

    distance: int = Field(
        6, ge=-1, le=64, description="Bits of 64 in which near duplicates differ at most; -1: nothing is a duplicate."
    )
    recent: int = Field(
        500, ge=1, le=100_000, description="Compared with so many recent pictures of the same camera and class."
    )


class DatasetSettings(Settings):
    """Keeping pictures to learn from."""

    enabled: bool = Field(default=False, description="Keep pictures.")
    folder: Path | None = Field(None, description=f"Where; empty: {FOLDER} in the folder of all runs.")
    what: Literal["frames", "crops"] = Field("frames", description="Whole pictures, or one of each object.")
    sampling_strategies: tuple[Strategy, ...] = Field(
        USUAL_STRATEGIES, min_length=1, max_length=100, description="Which pictures; the first that fits takes it."
    )
    margin: float = Field(
        0.1, ge=0, le=2, allow_inf_nan=False, description="What is cut around an object, as a part of its longer side."
    )
    max_image_size: int = Field(1920, ge=32, le=16_384, description="Longer pictures are made smaller to this side.")
    jpeg_quality: int = Field(95, ge=10, le=100, description="JPEG quality of the pictures.")
    max_gb: float = Field(
        5.0,
        ge=0.001,
        le=100_000,
        allow_inf_nan=False,
        description="Of what is more, the oldest of the class that takes most room goes.",
    )
    keep_days: int = Field(90, ge=1, le=36_500, description="What was kept for longer goes.")
    duplicates: DuplicateSettings = DuplicateSettings()

    @model_validator(mode="after")
    def _names_are_different(self) -> DatasetSettings:
        names = [each.name for each in self.sampling_strategies]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"several strategies are called {', '.join(sorted(twice))}; give each a name of its own")
        return self

    @property
    def max_bytes(self) -> int:
        return round(self.max_gb * 1e9)

    def folder_in(self, project: Path) -> Path:
        """Where the data set of this folder of runs is."""
        return self.folder or project / FOLDER
