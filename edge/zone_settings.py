"""What can be set for zones and lines: read on their own by every configuration, so they import nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from stream.config import Settings

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Point = tuple[Fraction, Fraction]
"""A place in the picture as fractions of its width and height, from the top left."""

ClassWord = Annotated[str, Field(coerce_numbers_to_str=True)]
"""A class's name or number."""

Name = Annotated[str, Field(min_length=1, max_length=100)]


class ZoneSettings(Settings):
    """A part of the picture in which objects are counted."""

    name: Name = Field(description="The zone's name, unique within its camera.")
    points: tuple[Point, ...] = Field(
        min_length=3,
        max_length=100,
        description="The corners [[x, y], ...] in order, as fractions 0-1 of the picture's width and height.",
    )
    classes: tuple[ClassWord, ...] = Field((), description="Names or numbers of the classes that count; empty: all.")
    inertia_frames: int = Field(
        3, ge=1, le=100, description="So many detections in a row must see an object inside, or outside again."
    )
    loitering_s: float = Field(
        0.0,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="An object is inside only after it has stayed for so long.",
    )

    @model_validator(mode="after")
    def _has_an_area(self) -> ZoneSettings:
        if _flat(self.points):
            raise ValueError(f"the corners of zone '{self.name}' enclose no area; give three or more around one")
        return self


class LineSettings(Settings):
    """A line whose crossings are counted: ``in`` to the left-hand side of somebody who looks from start to end."""

    name: Name = Field(description="The line's name, unique among the camera's zones and lines.")
    start: Point = Field(description="One end [x, y], as fractions 0-1 of the picture's width and height.")
    end: Point = Field(description="The other end.")
    classes: tuple[ClassWord, ...] = Field((), description="Names or numbers of the classes that count; empty: all.")

    @model_validator(mode="after")
    def _has_a_length(self) -> LineSettings:
        if self.start == self.end:
            raise ValueError(f"line '{self.name}' starts where it ends; give it two different ends")
        return self


def turning(start: Point, end: Point, point: Point) -> float:
    """Negative when ``point`` is to the left of the way from ``start`` to ``end`` (with y downwards), else positive."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])


def _flat(points: Sequence[Point]) -> bool:
    """Whether all points lie on one line."""
    others = [point for point in points if point != points[0]]
    return not others or all(abs(turning(points[0], others[0], point)) < 1e-9 for point in others)
