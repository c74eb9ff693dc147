"""What becomes of an answer: its track's label, its run's line, the counts, and whoever else wants to know."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from edge.escalation.board import Board
from edge.escalation.decisions import DecisionLog
from edge.escalation.figures import Tally
from edge.escalation.parcel import Parcel
from edge.escalation.refinements import write_missing_refinements, write_refinements
from edge.escalation.results import Answer, ResultStore

AnswerListener = Callable[[Answer, bool], None]
"""Told of each answer for this run, and whether its track still lives; on the loop's thread, must return at once."""

LEAST_SHOWN = 0.15
"""A label that is less probable is kept in refinements.jsonl, and shown to nobody: of a thousand it is a guess."""


class Reception:
    """Takes answers, as :class:`edge.escalation.forwarder.Home`, and tells of crops that never get one."""

    def __init__(
        self, run: str, board: Board, tally: Tally, results: ResultStore, log: DecisionLog, on_answer: AnswerListener
    ) -> None:
        self._run = run
        self._board = board
        self._tally = tally
        self._results = results
        self._log = log
        self._on_answer = on_answer
        self._logging = threading.Lock()

    def welcome(self, answers: Sequence[Answer]) -> None:
        ours = [each for each in answers if each.run == self._run]
        living = self._joined(ours)
        write_refinements(answers, {each.key for each in answers} - living)
        self._results.set_written([each.key for each in answers])

    def join(self, answers: Sequence[Answer]) -> None:
        self._joined(answers)

    def recover(self) -> None:
        """Write down what a process could not any more that died between the answer and its line."""
        unwritten = self._results.unwritten()
        write_missing_refinements(unwritten)
        self._results.set_written([each.key for each in unwritten])

    def gave_up(self, parcel: Parcel | None, cause: str, why: str) -> None:
        """From any thread; None for a crop that cannot be read any more."""
        self._tally.by_cause("dropped", cause)
        about = {} if parcel is None else _about(parcel)
        with self._logging:
            self._log.write("drop", cause, why, **about)

    def close(self) -> None:
        with self._logging:
            self._log.close()

    def _joined(self, answers: Sequence[Answer]) -> set[str]:
        """The keys of those whose tracks live and wear their label now."""
        living = set()
        for each in answers:
            refinement = each.refinement
            if refinement is None:
                self._tally.add(errors=1)
                continue
            is_sure = refinement.confidence >= LEAST_SHOWN
            is_living = is_sure and self._board.answer(each.track, replace(refinement, edge_class=each.class_name))
            self._tally.add(refined=1, late=int(is_sure and not is_living))
            self._tally.agreed(each.track.camera, each.class_name, each.verdict.agreement)
            if is_living:
                living.add(each.key)
            self._on_answer(each, is_living)
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
