"""Whether a track is worth a question: each rule alone, and what a camera's settings lay over the run's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.escalation.policy import MOST_REMEMBERED, Asked, Candidate, Cause, Picture, Policy, Trigger
from edge.escalation.settings import CameraEscalation, EscalationSettings, PolicySettings, is_in_the_open
from stream.config import build, to_yaml
from stream.errors import UsageError
from stream.sinks.rows import Row

GOOD = Picture(sharpness=100.0, quality=0.6)


def row(name: str = "dog", *, size_px: float = 80.0, track_id: int = 7) -> Row:
    return Row((10.0, 20.0, 10.0 + size_px, 150.0), 0.5, len(name), name, track_id)


def candidate(name: str = "dog", *, size_px: float = 80.0, **known: Any) -> Candidate:
    made: dict[str, Any] = {"confidence": 0.5, "trigger": Trigger.NEW, "hits": 10, "picture": GOOD}
    return Candidate(row(name, size_px=size_px), **(made | known))


def cause(settings: dict[str, Any], asked: Candidate, *, luck: float = 0.99, unknown: Any = ()) -> Cause:
    decision = Policy(PolicySettings(**settings), unknown).decide(asked, Asked(), 100.0, luck)
    assert decision.send == (decision.cause in (Cause.ALWAYS, Cause.UNSURE, Cause.AUDIT))
    assert decision.why
    assert (decision.value > 0) == decision.send
    return decision.cause


@pytest.mark.parametrize(
    ("settings", "known", "expected"),
    [
        ({}, {}, Cause.UNSURE),
        ({}, {"confidence": 0.3}, Cause.UNSURE),
        ({}, {"confidence": 0.75}, Cause.UNSURE),
        ({}, {"confidence": 0.29}, Cause.TOO_UNSURE),
        ({}, {"confidence": 0.76}, Cause.CONFIDENT),
        ({"classes": ["cat"]}, {}, Cause.OTHER_CLASS),
        ({"classes": ["DOG"]}, {}, Cause.UNSURE),
        ({"classes": [3]}, {}, Cause.UNSURE),
        ({"deny": ["dog"]}, {}, Cause.DENIED),
        ({"deny": ["dog"], "always_analyze": ["dog"]}, {}, Cause.DENIED),
        ({"always_analyze": ["dog"], "classes": ["cat"]}, {"confidence": 0.99}, Cause.ALWAYS),
        ({"always_analyze": ["dog"], "zones": ["yard"]}, {}, Cause.ALWAYS),
        ({"zones": ["yard"]}, {}, Cause.OUTSIDE),
        ({"zones": ["yard"]}, {"zones": frozenset({"road"})}, Cause.OUTSIDE),
        ({"zones": ["yard"]}, {"zones": frozenset({"road", "yard"})}, Cause.UNSURE),
        ({"min_size_px": 81}, {}, Cause.SMALL),
        ({"min_size_px": 80}, {}, Cause.UNSURE),
        ({"min_hits": 11}, {}, Cause.BRIEF),
        ({"min_sharpness": 101}, {}, Cause.BLURRED),
        ({"min_sharpness": 101, "always_analyze": ["dog"]}, {}, Cause.BLURRED),
        ({}, {"picture": None}, Cause.NO_PICTURE),
        ({}, {"picture": Picture(100.0, 0.6, visible=0.49)}, Cause.COVERED),
        ({}, {"picture": Picture(100.0, 0.6, visible=0.5)}, Cause.UNSURE),
        ({}, {"denied": True}, Cause.DENIED),
    ],
)
def test_each_rule(settings: dict[str, Any], known: dict[str, Any], expected: Cause) -> None:
    assert cause(settings, candidate(**known)) is expected


def test_classes_without_a_counterpart_are_not_asked_about_unless_one_says_so() -> None:
    unknown = {"Person", "fork"}
    assert cause({}, candidate("dog"), unknown=unknown) is Cause.UNSURE
    assert cause({}, candidate("person"), unknown=unknown) is Cause.NO_COUNTERPART
    assert cause({}, candidate("person")) is Cause.UNSURE
    assert cause({"without_counterpart": True}, candidate("person"), unknown=unknown) is Cause.UNSURE
    assert cause({"classes": ["person"]}, candidate("person"), unknown=unknown) is Cause.UNSURE
    assert cause({"always_analyze": ["person"]}, candidate("person"), unknown=unknown) is Cause.ALWAYS


def test_confident_ones_are_audited_at_the_rate_that_was_set() -> None:
    policy, sure = Policy(PolicySettings(audit_rate=0.02)), candidate(confidence=0.95)
    drawn = [policy.decide(sure, Asked(), 0.0, luck / 1000).send for luck in range(1000)]
    assert sum(drawn) == 20
    assert not Policy(PolicySettings(audit_rate=0)).decide(sure, Asked(), 0.0, 0.0).send


def test_tracks_and_cameras_cool_down() -> None:
    policy, asked = Policy(PolicySettings(track_cooldown_s=30, camera_cooldown_s=2)), Asked()
    asked.note(7, 100.0)
    again = candidate(trigger=Trigger.AGAIN)
    assert policy.decide(again, asked, 129.9, 0.9).cause is Cause.TRACK_COOLDOWN
    assert policy.decide(again, asked, 130.0, 0.9).cause is Cause.UNSURE
    other = Candidate(row(track_id=8), 0.5, Trigger.NEW, 10, picture=GOOD)
    assert policy.decide(other, asked, 101.9, 0.9).cause is Cause.CAMERA_COOLDOWN
    assert policy.decide(other, asked, 102.0, 0.9).cause is Cause.UNSURE
    changed = candidate(trigger=Trigger.CHANGED)
    assert policy.decide(changed, asked, 103.0, 0.9).cause is Cause.UNSURE, "another label is another question"


def test_what_was_asked_is_remembered_within_bounds() -> None:
    asked = Asked()
    for track in range(MOST_REMEMBERED + 10):
        asked.note(track, float(track))
    assert len(asked.tracks) == MOST_REMEMBERED
    assert asked.track_s(0) == float("-inf")
    assert asked.track_s(MOST_REMEMBERED + 9) == MOST_REMEMBERED + 9


def test_values_order_what_waits() -> None:
    def value(settings: dict[str, Any], asked: Candidate) -> float:
        return Policy(PolicySettings(**settings)).decide(asked, Asked(), 0.0, 0.0).value

    doubtful, surer = candidate(confidence=0.525), candidate(confidence=0.7)
    poor = candidate(confidence=0.525, picture=Picture(30.0, 0.1))
    audit = candidate(confidence=0.95)
    always = {"always_analyze": ["dog"]}
    known = candidate(confidence=0.525, trigger=Trigger.AGAIN)
    assert value(always, doubtful) > value({}, doubtful) > value({}, poor) > value({}, surer) > value({}, audit)
    assert value({}, doubtful) > value({}, known)
    assert value(always, audit) > value({}, surer)


@settings(deadline=None)
@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["dog", "cat", "person"]),
    st.floats(0, 200),
)
def test_deny_holds_whatever_else_is_true(
    confidence: float, rate: float, luck: float, name: str, size_px: float
) -> None:
    settings = PolicySettings(
        deny=("person", "cat"), always_analyze=("person",), classes=("cat", "dog"), audit_rate=rate, min_size_px=1
    )
    decision = Policy(settings).decide(candidate(name, size_px=size_px, confidence=confidence), Asked(), 0.0, luck)
    assert not (decision.send and name != "dog")


# Settings.


def test_nothing_leaves_by_default() -> None:
    settings = EscalationSettings()
    assert (settings.enabled, settings.shadow) == (False, True)
    assert not settings.of_camera(None).enabled
    assert EscalationSettings(enabled=True).of_camera(None).shadow


def test_a_camera_lays_its_own_over_the_runs() -> None:
    run = EscalationSettings(
        enabled=True, shadow=False, url="http://cloud:8000", policy=PolicySettings(deny=("person",), min_size_px=50)
    )
    own = CameraEscalation(min_size_px=20, confidence_high=0.9, shadow=True)
    effective = run.of_camera(own)
    assert (effective.enabled, effective.shadow) == (True, True)
    assert effective.policy == run.policy.model_copy(update={"min_size_px": 20, "confidence_high": 0.9})
    assert run.of_camera(None).policy == run.policy
    assert not run.of_camera(CameraEscalation(enabled=False)).enabled
    assert not EscalationSettings().of_camera(CameraEscalation(enabled=True)).enabled
    with pytest.raises(UsageError, match="confidence_low"):
        run.of_camera(CameraEscalation(confidence_low=0.8))


def test_a_camera_without_an_address_to_send_to_only_reports() -> None:
    assert EscalationSettings(enabled=True).of_camera(CameraEscalation(shadow=False)).shadow


def test_the_camera_knows_every_key_of_the_policy() -> None:
    assert set(CameraEscalation.model_fields) - {"enabled", "shadow"} == set(PolicySettings.model_fields)
    assert all(field.default is None for field in CameraEscalation.model_fields.values())


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"enabled": True, "shadow": False}, "needs a url"),
        ({"url": "ftp://cloud"}, "must be http"),
        ({"url": "http://user:hidden@cloud"}, "no user"),
        ({"url": "http://cloud/?token=hidden"}, "no user"),
        ({"policy": {"confidence_low": 0.9, "confidence_high": 0.1}}, "must not be above"),
        ({"policy": {"colour": 1}}, "unknown key"),
    ],
)
def test_wrong_settings_are_said_without_secrets(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        build(EscalationSettings, values, origin="test")
    assert "hidden" not in str(caught.value)


def test_the_token_is_never_shown_and_may_come_from_the_environment() -> None:
    settings = EscalationSettings.model_validate({"token": "hidden"})
    assert "hidden" not in repr(settings) + to_yaml(settings)
    assert settings.token_in({"VIDEODISCO_CLOUD_TOKEN": "other"}) == "hidden"
    assert EscalationSettings().token_in({"VIDEODISCO_CLOUD_TOKEN": "other"}) == "other"
    assert EscalationSettings().token_in({}) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://cloud:8000", True),
        ("http://10.0.0.7", True),
        ("https://cloud:8000", False),
        ("http://127.0.0.1:8000", False),
        ("http://localhost:8000", False),
        ("http://[::1]:8000", False),
    ],
)
def test_what_can_be_read_on_the_way_is_known(url: str, expected: bool) -> None:
    assert is_in_the_open(url) is expected
