"""What becomes of an answer: its track's label, its run's line, the counts, and whoever else wants to know."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from edge.escalation.board import Board
from edge.escalation.decisions import DecisionLog
from edge.escalation.figures import Tally
from edge.escalation.parcel import Parcel
from edge.escalation.refinements import write_missing_refinements, write_refinements
from edge.escalation.results import Answer, ResultStore
from stream.frame import Refinement

AnswerListener = Callable[[Answer, Refinement | None], None]
"""Told of each answer for this run, and of its label where it is sure enough to be shown; on the loop's thread, must
return at once."""

FormerListener = Callable[[Answer, Refinement], None]
"""Told of labels for what another run, or this one before it was killed, has seen; on the loop's thread."""

AGREES_FROM = 0.5
"""More of the probability lies on names of the edge's class than on all others."""

CONTRADICTS_FROM = 0.9
"""A label that is none of the edge's class must be so probable to be shown: a crop of a car shows its mirrors, too."""


def shown_label(answer: Answer, least: float) -> Refinement | None:
    """The label that is written on the object: none where the cloud has none, or guesses.

    ``least`` is what a finer name of the edge's own class must have for its probability.
    """
    said = answer.verdict
    agrees = said.agreement is None or said.agreement >= AGREES_FROM
    enough = least if agrees else max(least, CONTRADICTS_FROM)
    return answer.refinement if said.confidence >= enough else None


class Reception:
    """Takes answers, as :class:`edge.escalation.means.Home`, and tells of crops that never get one."""

    def __init__(
        self,
        run: str,
        board: Board,
        tally: Tally,
        results: ResultStore,
        log: DecisionLog,
        on_answer: AnswerListener,
        *,
        on_former: FormerListener,
        least_shown: float,
    ) -> None:
        self._run = run
        self._board = board
        self._tally = tally
        self._results = results
        self._log = log
        self._on_answer = on_answer
        self._on_former = on_former
        self._least_shown = least_shown
        self._logging = threading.Lock()

    def welcome(self, answers: Sequence[Answer]) -> None:
        ours = [each for each in answers if each.run == self._run]
        living = self._joined(ours)
        self._tell_former([each for each in answers if each.run != self._run])
        write_refinements(answers, {each.key for each in answers} - living)
        self._results.set_written([each.key for each in answers])

    def join(self, answers: Sequence[Answer]) -> None:
        self._joined(answers)

    def recover(self) -> None:
        """Write down what a process could not any more that died between the answer and its line."""
        unwritten = self._results.unwritten()
        write_missing_refinements(unwritten)
        self._tell_former(unwritten)
        self._results.set_written([each.key for each in unwritten])

    def gave_up(self, parcel: Parcel | None, cause: str, why: str) -> None:
        """From any thread; None for a crop that cannot be read any more."""
        about = {} if parcel is None else _about(parcel)
        with self._logging:
            self._log.write("drop", cause, why, **about)
        self._tally.by_cause("dropped", cause)

    def held_back(self, limit: str, why: str) -> None:
        with self._logging:
            self._log.write("hold", limit, why)

    def cloud_is(self, state: str, why: str) -> None:
        """For the log: when the cloud was away, and what was wrong with it."""
        with self._logging:
            self._log.write("cloud", state, why)

    def close(self) -> None:
        with self._logging:
            self._log.close()

    def _tell_former(self, answers: Sequence[Answer]) -> None:
        for each in answers:
            if (label := shown_label(each, self._least_shown)) is not None:
                self._on_former(each, label)

    def _joined(self, answers: Sequence[Answer]) -> set[str]:
        """The keys of those whose tracks live, and wear their label now if it is worth it."""
        living = set()
        for each in answers:
            if each.refinement is None:
                self._tally.add(errors=1)
                continue
            label = shown_label(each, self._least_shown)
            is_living = self._board.answer(each.track, label)
            self._tally.add(refined=1, late=int(not is_living), unshown=int(label is None))
            self._tally.agreed(each.track.camera, each.class_name, each.verdict.agreement)
            if is_living:
                living.add(each.key)
            self._on_answer(each, label)
        return living


def _about(parcel: Parcel) -> dict[str, object]:
    return {
        "source": parcel.track.camera,
        "pts_s": parcel.pts_s,
        "epoch": parcel.track.epoch,
        "track_id": parcel.track.track_id,
        "class": parcel.class_name,
        "confidence": parcel.confidence,
        "frame": parcel.frame,
        "key": parcel.key,
        "bytes": len(parcel.jpeg),
    }
