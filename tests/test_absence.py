"""One absence lasts from the last picture to the next, whatever is tried in between."""

from __future__ import annotations

from edge.service.absence import Absence, Absences
from stream.sources.status import SourceState, SourceStatus


def status(state: SourceState, since_s: float, reason: str = "") -> SourceStatus:
    return SourceStatus(state, since_s, reason)


def test_an_absence_goes_on_over_all_attempts_and_remembers_why() -> None:
    absences = Absences()
    absences.tell("gate", status(SourceState.LIVE, 1))
    absences.tell("gate", status(SourceState.STALLED, 10))
    absences.tell("gate", status(SourceState.BACKING_OFF, 14, "no route to host"))
    trying = status(SourceState.CONNECTING, 20)
    absences.tell("gate", trying)
    assert absences.of("gate", trying) == Absence(10, "no route to host")
    refused = status(SourceState.REFUSED, 21, "the password is wrong")
    assert absences.of("gate", refused) == Absence(10, "the password is wrong"), "before anybody was told of it"


def test_it_is_over_with_the_first_picture_and_when_none_is_wanted() -> None:
    absences = Absences()
    for state in (SourceState.LIVE, SourceState.PAUSED, SourceState.ENDED):
        absences.tell("gate", status(SourceState.BACKING_OFF, 5, "no route to host"))
        absences.tell("gate", status(state, 30))
        assert absences.of("gate", status(state, 30)) is None
        assert absences.of("gate", status(SourceState.CONNECTING, 40)) == Absence(40)


def test_cameras_are_apart_and_can_be_forgotten() -> None:
    absences = Absences()
    absences.tell("gate", status(SourceState.CONNECTING, 5))
    absences.tell("yard", status(SourceState.CONNECTING, 7))
    absences.forget("gate")
    assert absences.of("gate", status(SourceState.CONNECTING, 9)) == Absence(9)
    assert absences.of("yard", status(SourceState.CONNECTING, 9)) == Absence(7)
