"""Which pictures are taken: what fits, by chance, within limits. No clock and no chance of their own."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

from stream.dataset.sample import Label
from stream.dataset.settings import (
    ClassesStrategy,
    CloseToThresholdStrategy,
    DetectionsNumberStrategy,
    DisagreementStrategy,
    Limit,
    LowAgreementTrackStrategy,
    RandomStrategy,
    Strategy,
)

Dice = Callable[[], float]
"""Draws a number from 0 to below 1."""


def fitting(strategy: Strategy, labels: Sequence[Label]) -> Sequence[Label] | None:
    """The labels for which a strategy wants the picture that has ``labels``; None when it does not want it."""
    match strategy:
        case RandomStrategy():
            return labels
        case CloseToThresholdStrategy():
            near = [each for each in labels if _is_near(strategy, each)]
            return near if len(near) >= strategy.minimum_objects_close_to_threshold else None
        case ClassesStrategy():
            return [each for each in labels if _counts(strategy.selected_class_names, each)] or None
        case DetectionsNumberStrategy():
            counted = [each for each in labels if _counts(strategy.selected_class_names, each)]
            return counted if _number_fits(strategy, len(counted)) else None
        case DisagreementStrategy():
            return [each for each in labels if _below(each.agreement, strategy.less_than)] or None
        case LowAgreementTrackStrategy():
            return [each for each in labels if _below(each.track_agreement, strategy.less_than)] or None


class RateLimit:
    """At most ``value`` within any span of ``period_s``, wherever it begins. Times are of a clock that does not go
    back."""

    def __init__(self, limit: Limit) -> None:
        self._value = limit.value
        self._period_s = limit.period_s
        self._spent: deque[float] = deque()

    def allows(self, now_s: float) -> bool:
        while self._spent and now_s - self._spent[0] >= self._period_s:
            self._spent.popleft()
        return len(self._spent) < self._value

    def spend(self, now_s: float) -> None:
        self._spent.append(now_s)

    def refund(self, spent_s: float) -> None:
        """What was spent at that time came to nothing."""
        if spent_s in self._spent:
            self._spent.remove(spent_s)


class Sampler:
    """Carries out one strategy. For one thread."""

    def __init__(self, strategy: Strategy, dice: Dice) -> None:
        self.strategy = strategy
        self.refused = 0
        """Pictures that fitted and were drawn, but were above a limit."""
        self._dice = dice
        self._limits = [RateLimit(limit) for limit in strategy.limits]
        self._to_pass = self._drawn()

    @property
    def memory_s(self) -> float:
        """For how long it matters what was taken."""
        return max((limit.period_s for limit in self.strategy.limits), default=0.0)

    def is_ready(self, now_s: float) -> bool:
        """Whether it would take the next picture that fits."""
        return self._to_pass == 0 and self._allowed(now_s)

    def take(self, labels: Sequence[Label], now_s: float) -> Sequence[Label] | None:
        """The labels for which it takes this picture, which counts from now; None when it does not."""
        reasons = fitting(self.strategy, labels)
        if reasons is None:
            return None
        if self._to_pass:
            self._to_pass -= 1
            return None
        self._to_pass = self._drawn()
        if not self._allowed(now_s):
            self.refused += 1
            return None
        self.spend(now_s)
        return reasons

    def let_pass(self, labels: Sequence[Label]) -> None:
        """Something went by of which there is no picture to take."""
        if self._to_pass and fitting(self.strategy, labels) is not None:
            self._to_pass -= 1

    def spend(self, now_s: float) -> None:
        """A picture was taken at this time."""
        for limit in self._limits:
            limit.spend(now_s)

    def refund(self, spent_s: float) -> None:
        """The picture that was taken at this time was not kept."""
        for limit in self._limits:
            limit.refund(spent_s)

    def _allowed(self, now_s: float) -> bool:
        return all(limit.allows(now_s) for limit in self._limits)

    def _drawn(self) -> int:
        """How many that fit go by before the next is taken: as many as if each were drawn by itself, but known ahead,
        so that nobody has to make pictures that will not be taken."""
        share = self.strategy.traffic_percentage
        return 0 if share >= 1 else int(math.log(1 - self._dice()) / math.log1p(-share))


def _is_near(strategy: CloseToThresholdStrategy, label: Label) -> bool:
    # an error of rounding keeps nothing out
    near = abs(label.confidence - strategy.threshold) <= strategy.epsilon + 1e-9
    return near and _counts(strategy.selected_class_names, label)


def _counts(selected: Sequence[str], label: Label) -> bool:
    """Whether its class is among the names, in any case, or numbers; none named: all."""
    words = {word.casefold() for word in selected}
    return not words or label.class_name.casefold() in words or str(label.class_id) in words


def _number_fits(strategy: DetectionsNumberStrategy, number: int) -> bool:
    enough = strategy.more_than is None or number > strategy.more_than
    return enough and (strategy.less_than is None or number < strategy.less_than)


def _below(value: float | None, bound: float) -> bool:
    return value is not None and value < bound
