"""What is said at the end of asking the cloud."""

from __future__ import annotations

import json

import pytest

from edge.escalation.figures import Agreement, EscalationFigures

ASKED = {"within_band": 14}
AGREED = {("yard", "car"): Agreement(10, 0.5, 0.35)}


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (
            EscalationFigures(decided=20, chosen=ASKED, refined=12, errors=2, agreement=AGREED),
            "the cloud was asked about 14 of 20 tracks, 14 were answered, agreement 0.35",
        ),
        (
            EscalationFigures(decided=20, chosen=ASKED, spooled=1, reason="the cloud cannot be reached"),
            "the cloud was asked about 14 of 20 tracks, 0 were answered"
            "; 1 crop waits on disk for the next run: the cloud cannot be reached",
        ),
        (
            EscalationFigures(decided=20, chosen=ASKED, would_send=14),
            "the cloud would have been asked about 14 of 20 tracks (shadow mode)",
        ),
    ],
)
def test_it_is_said_what_became_of_it(figures: EscalationFigures, said: str) -> None:
    assert figures.sentence() == said


def test_the_summary_is_plain_values() -> None:
    figures = EscalationFigures(decided=20, chosen=ASKED, refused={"size": 6}, agreement=AGREED)
    summary = json.loads(json.dumps(figures.summary()))
    assert summary["asked"] == 14
    assert summary["refused"] == {"size": 6}
    assert summary["agreement"] == {"yard": {"car": 0.5}}
