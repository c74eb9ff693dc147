"""From results to crops that wait: when a track is decided about, with which crop, what is logged, who is living."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.escalation.board import Board
from edge.escalation.decisions import MOST_A_SECOND, DecisionLog
from edge.escalation.figures import Tally
from edge.escalation.parcel import TrackKey, unpacked
from edge.escalation.tracks import AGAIN_AFTER_S, LOST_AFTER_S, MOST_TRACKS, PICTURE_WITHIN_S
from stream.frame import FrameResult, Pixels, Refinement
from stream.sinks.base import Sink
from stream.sinks.rotation import Rotation
from tests.escalation import BOX, STARTED_AT, Desk, lines, noise, parcel
from tests.events import FPS, Seen, frame, zone
from tests.results import source

SHARP = noise()
HERE: Seen = {7: BOX}


def shown(desk: Desk, results: Iterable[FrameResult]) -> None:
    for each in results:
        desk.sink.write(each)


def stay(
    first: int, seconds: float, seen: Seen = HERE, *, picture: Pixels | None = SHARP, **known: Any
) -> list[FrameResult]:
    """Results of so many seconds that all show the same."""
    made: dict[str, Any] = {"name": "dog", "confidence": 0.5} | known
    return [frame(first + n, seen, picture=picture, **made) for n in range(round(seconds * FPS))]


def opened(folder: Path, **known: Any) -> Desk:
    desk = Desk(folder, **known)
    desk.sink.open(source(started_at=STARTED_AT))
    return desk


def test_it_is_a_sink(tmp_path: Path) -> None:
    sink: Sink = Desk(tmp_path).sink
    assert (sink.name, sink.optional) == ("escalation", True)


def test_a_track_is_sent_once_when_it_has_been_seen_for_a_moment(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    shown(desk, stay(0, 0.5))
    assert desk.box.got == []
    shown(desk, stay(5, 5.0))
    (sent,) = desk.box.parcels
    assert (sent.class_name, sent.class_id, sent.track.camera, sent.track.track_id) == ("dog", 3, "cam1", 7)
    assert sent.frame_time_s == STARTED_AT + sent.pts_s
    assert (sent.bbox, sent.width, sent.height, sent.model_name) == (BOX, 320, 240, "nanodet-g")
    assert unpacked(sent.packed()) == sent
    assert desk.figures.chosen == {"within_band": 1}


def test_the_best_crop_is_sent_not_the_first(tmp_path: Path) -> None:
    desk = opened(tmp_path, margin=0)
    soft = np.asarray(cv2.GaussianBlur(SHARP, (0, 0), 4), np.uint8)
    truncated: Seen = {7: (0.0, 60.0, 80.0, 160.0)}
    shown(desk, [*stay(0, 0.2, picture=soft), *stay(2, 0.1, truncated), *stay(3, 0.1), *stay(4, 0.4, picture=soft)])
    (sent,) = desk.box.parcels
    assert (sent.frame, sent.bbox) == (3, BOX)
    image = cv2.imdecode(np.frombuffer(sent.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    assert np.abs(image.astype(int) - cv2.cvtColor(SHARP[60:160, 100:180], cv2.COLOR_BGR2GRAY)).mean() < 10


def test_a_track_that_ends_early_is_decided_about_then(tmp_path: Path) -> None:
    desk = opened(tmp_path, settle_s=10.0)
    shown(desk, stay(0, 1.0))
    gone = [frame(10 + n, {}, picture=SHARP) for n in range(round(LOST_AFTER_S * FPS) + 1)]
    shown(desk, gone[:-1])
    assert desk.box.got == []
    shown(desk, gone[-1:])
    assert len(desk.box.got) == 1


def test_closing_and_losing_the_camera_decide_about_what_is_open(tmp_path: Path) -> None:
    desk = opened(tmp_path, settle_s=10.0)
    shown(desk, stay(0, 1.0))
    desk.sink.interrupt()
    assert len(desk.box.got) == 1
    shown(desk, stay(10, 1.0, {8: BOX}))
    desk.sink.close()
    assert [each.track.track_id for each in desk.box.parcels] == [7, 8]
    assert desk.sink.outputs == [tmp_path / "decisions.jsonl"]


def test_what_was_seen_too_seldom_is_none(tmp_path: Path) -> None:
    desk = opened(tmp_path, min_hits=3)
    shown(desk, stay(0, 0.2))
    desk.sink.close()
    assert desk.box.got == []
    assert desk.figures.refused == {"min_hits": 1}


def test_it_is_asked_again_after_the_cooldown_and_when_the_label_changes(tmp_path: Path) -> None:
    desk = opened(tmp_path, track_cooldown_s=5.0)
    shown(desk, stay(0, 8.0))
    assert len(desk.box.got) == 2
    assert 5.0 <= desk.box.parcels[1].pts_s - desk.box.parcels[0].pts_s <= 6.5
    shown(desk, stay(80, 4.0, name="cat", confidence=0.7))
    assert [each.class_name for each in desk.box.parcels] == ["dog", "dog"], "one sight of a cat is no cat yet"
    shown(desk, stay(120, 6.0, name="cat", confidence=0.7))
    assert [each.class_name for each in desk.box.parcels][2:] == ["cat"]
    triggers = [each["trigger"] for each in desk.decisions if each["decision"] == "send"]
    assert triggers == ["new_track", "seen_again", "changed_label"]


def test_a_label_that_flickers_asks_once_for_each_label(tmp_path: Path) -> None:
    desk = opened(tmp_path, track_cooldown_s=1000.0)
    for number in range(60):
        name = "cat" if number // 10 % 2 else "dog"
        shown(desk, stay(number * 10, 1.0, name=name, confidence=0.4 + number / 1000))
    assert len(desk.box.got) <= 2


def test_a_track_that_has_grown_is_looked_at_again(tmp_path: Path) -> None:
    desk = opened(tmp_path, min_size_px=60)
    shown(desk, stay(0, 3.0, {7: (100.0, 60.0, 150.0, 160.0)}))
    assert desk.figures.refused == {"size": 1}
    assert not desk.sink.wants_picture_now
    shown(desk, stay(30, 1.0))
    assert len(desk.box.got) == 1


def test_refusals_are_told_once_not_with_every_look(tmp_path: Path) -> None:
    desk = opened(tmp_path, audit_rate=0)
    shown(desk, stay(0, 30.0, confidence=0.95))
    assert [(each["decision"], each["cause"]) for each in desk.decisions] == [("refuse", "above_band")]
    assert (desk.figures.decided, desk.figures.refused) == (1, {"above_band": 1})


def test_the_audit_draws_once_a_track_not_once_a_frame(tmp_path: Path) -> None:
    draws = iter([0.99])
    desk = opened(tmp_path, audit_rate=0.5, track_cooldown_s=100.0)
    desk.watch._luck = lambda: next(draws)  # a second draw would end the test
    shown(desk, stay(0, 50.0, confidence=0.95))
    assert next(draws, None) is None
    desk.watch._luck = lambda: 0.49
    shown(desk, stay(500, 2.0, {8: BOX}, confidence=0.95))
    assert [each.cause for each in desk.box.parcels] == ["audit"]


def test_carried_frames_say_nothing(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    shown(desk, stay(0, 10.0, carried=True))
    desk.sink.close()
    assert (desk.box.got, desk.decisions) == ([], [])


def wants(desk: Desk) -> bool:
    return desk.sink.wants_picture_now


def test_pictures_are_wanted_only_while_one_decides(tmp_path: Path) -> None:
    desk = opened(tmp_path, track_cooldown_s=100.0, audit_rate=0, deny=["person"])
    assert not wants(desk)
    shown(desk, stay(0, 1.0, confidence=0.95))
    shown(desk, stay(10, 1.0, {8: BOX}, name="person"))
    assert not wants(desk), "neither a sure one nor a denied one needs a picture"
    shown(desk, stay(20, 0.1, {9: BOX}))
    assert wants(desk)
    shown(desk, stay(21, 1.0, {9: BOX}))
    assert len(desk.box.got) == 1
    assert not wants(desk)


def test_a_picture_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    shown(desk, stay(0, 2.0, picture=None))
    assert desk.decisions == []
    shown(desk, stay(20, 0.1))
    assert len(desk.box.got) == 1
    shown(desk, stay(30, PICTURE_WITHIN_S + 0.2, {8: BOX}, picture=None))
    assert desk.figures.refused == {"no_picture": 1}


def test_a_soft_picture_gets_another_chance(tmp_path: Path) -> None:
    desk = opened(tmp_path, min_sharpness=50)
    shown(desk, stay(0, 1.0, picture=np.zeros_like(SHARP)))
    assert desk.figures.refused == {"sharpness": 1}
    shown(desk, stay(10, AGAIN_AFTER_S - 0.6))
    assert desk.box.got == []
    shown(desk, stay(10 + round((AGAIN_AFTER_S - 0.6) * FPS), 2.0))
    assert len(desk.box.got) == 1


def test_zones_count_where_the_object_is(tmp_path: Path) -> None:
    desk = opened(tmp_path, zones=["yard"])
    shown(desk, stay(0, 1.0))
    assert desk.figures.refused == {"zone": 1}
    shown(desk, stay(10, 1.0, zones=(zone("yard", 7),)))
    assert len(desk.box.got) == 1


def test_what_once_passed_for_somebody_who_is_denied_never_leaves(tmp_path: Path) -> None:
    desk = opened(tmp_path, deny=["person"])
    shown(desk, [*stay(0, 0.1, name="person"), *stay(1, 5.0)])
    desk.sink.close()
    assert desk.box.got == []
    assert desk.figures.refused == {"denied": 1}


def test_a_denied_passer_by_is_hidden_in_the_crop(tmp_path: Path) -> None:
    desk = opened(tmp_path, deny=["person"], margin=0)
    seen: Seen = {7: BOX, 8: (100.0, 60.0, 130.0, 160.0)}
    shown(desk, stay(0, 1.0, seen, names=["dog", "person"]))
    (sent,) = desk.box.parcels
    image = cv2.imdecode(np.frombuffer(sent.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image[:, :24].std() < 30 < image[:, 40:].std()


def test_shadow_only_reports(tmp_path: Path) -> None:
    desk = opened(tmp_path, shadow=True)
    shown(desk, stay(0, 2.0))
    assert desk.box.got == []
    (told,) = desk.decisions
    assert (told["decision"], told["cause"]) == ("would_send", "within_band")
    figures = desk.figures
    assert (figures.would_send, figures.would_send_bytes) == (1, told["bytes"])


def test_a_line_explains_the_decision(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    shown(desk, stay(0, 1.0))
    (told,) = desk.decisions
    assert told.pop("sharpness") > 100
    quality, value = told.pop("quality"), told.pop("value")
    assert value == pytest.approx(1 - 0.025 / 0.225 + 0.5 + quality / 2, abs=1e-3)
    sent = desk.box.parcels[0]
    assert told == {
        "time": "2023-11-14T22:13:20.000Z",
        "decision": "send",
        "cause": "within_band",
        "why": "0.50 is within 0.3-0.75",
        "source": "cam1",
        "pts_s": 0.5,
        "epoch": 0,
        "track_id": 7,
        "class": "dog",
        "confidence": 0.5,
        "trigger": "new_track",
        "size_px": 80.0,
        "frame": 0,
        "key": sent.key,
        "bytes": len(sent.jpeg),
        "bbox": [100.0, 60.0, 180.0, 160.0],
    }


def test_a_full_disk_is_counted_and_stops_nothing(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    desk.box.full = True
    shown(desk, stay(0, 1.0))
    desk.box.full = False
    shown(desk, stay(10, 1.0, {8: BOX}))
    assert len(desk.box.got) == 1
    assert desk.figures.dropped == {"disk": 1}


def test_crops_fit_what_the_budget_lets_through(tmp_path: Path) -> None:
    desk = opened(tmp_path, most_bytes=3000)
    shown(desk, stay(0, 1.0))
    assert len(desk.box.parcels[0].jpeg) <= 3000
    tight = opened(tmp_path / "tight", most_bytes=300)
    shown(tight, stay(0, 1.0))
    assert tight.figures.refused == {"larger_than_budget": 1}


def test_tracks_are_bounded(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    crowd = dict.fromkeys(range(MOST_TRACKS + 50), BOX)
    shown(desk, stay(0, 0.2, crowd, picture=None))
    assert len(desk.watch._tracks) == MOST_TRACKS


# Epochs, lives, and the board.

LABEL = Refinement("golden retriever", 0.82, "lite0")


def test_labels_are_joined_while_the_track_lives(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    shown(desk, stay(0, 1.0))
    track = desk.box.parcels[0].track
    assert desk.board.answer(track, LABEL)
    assert desk.board.refined("cam1") == {7: LABEL}
    assert desk.board.refined("cam2") == {}
    shown(desk, [frame(10 + n, {}, picture=SHARP) for n in range(round(LOST_AFTER_S * FPS) + 1)])
    assert desk.board.refined("cam1") == {}
    assert not desk.board.answer(track, LABEL)


def test_a_number_that_leaps_to_something_else_takes_no_label_along(tmp_path: Path) -> None:
    """As where a scene is cut."""
    small: Seen = {7: (150.0, 60.0, 180.0, 100.0)}
    desk = opened(tmp_path, track_cooldown_s=1000.0, min_size_px=10)
    shown(desk, stay(0, 1.0))
    assert desk.board.answer(desk.box.parcels[0].track, LABEL)
    shown(desk, stay(10, 0.1, small))
    assert desk.board.refined("cam1") == {}
    shown(desk, stay(11, 1.0, small))
    first, second = desk.box.parcels
    assert [first.bbox, second.bbox] == [BOX, small[7]], "and it is asked about for itself"
    assert not desk.board.answer(first.track, LABEL), "what is said late of the former is not of this one"
    assert desk.board.answer(second.track, LABEL)
    shown(desk, [*stay(21, 0.1, small), *stay(26, 1.0)])  # half a second later it may have come nearer
    assert len(desk.box.parcels) == 2


def test_whoever_is_denied_stays_denied_when_the_box_leaps(tmp_path: Path) -> None:
    desk = opened(tmp_path, deny=["person"])
    shown(desk, [*stay(0, 1.0, name="person"), *stay(10, 2.0, {7: (100.0, 60.0, 140.0, 100.0)})])
    desk.sink.close()
    assert desk.box.got == []


def test_a_snapshot_never_changes(tmp_path: Path) -> None:
    desk = opened(tmp_path)
    shown(desk, stay(0, 1.0, {7: BOX, 8: BOX}))
    first, second = (each.track for each in desk.box.parcels)
    desk.board.answer(first, LABEL)
    before = desk.board.refined("cam1")
    desk.board.answer(second, LABEL)
    assert before == {first.track_id: LABEL}
    with pytest.raises(TypeError):
        before[9] = LABEL  # type: ignore[index] # that it is refused is what is tested


def test_an_answer_never_reaches_another_object_of_the_same_number(tmp_path: Path) -> None:
    board = Board()
    desk = opened(tmp_path, board=board)
    shown(desk, stay(0, 1.0))
    old = desk.box.parcels[0].track
    shown(desk, stay(10, 1.0, epoch=1))  # the source began anew
    assert not board.answer(old, LABEL)
    assert board.answer(replace(old, epoch=1), LABEL)
    again = opened(tmp_path, board=board)  # the camera began anew: its tracker counts from 0, its epochs too
    assert board.refined("cam1") == {}
    shown(again, stay(0, 1.0))
    desk.sink.close()  # the former one ends late
    assert not board.answer(replace(old, epoch=0), LABEL)
    new = again.box.parcels[0].track
    assert (new.track_id, new.epoch) == (old.track_id, old.epoch)
    assert board.answer(new, LABEL)
    assert board.refined("cam1") == {7: LABEL}


def test_an_epoch_ends_what_was_open_under_its_own_number(tmp_path: Path) -> None:
    desk = opened(tmp_path, settle_s=10.0)
    shown(desk, [*stay(0, 1.0), *stay(1, 1.0, {7: BOX}, epoch=1)])
    (sent,) = desk.box.parcels
    assert sent.track.epoch == 0
    desk.sink.close()
    assert [each.track.epoch for each in desk.box.parcels] == [0, 1]


def test_answers_for_cameras_that_are_gone_are_late() -> None:
    board = Board()
    board.begin("cam1", "life")
    board.expect(TrackKey("cam1", "life", 0, 1))
    board.forget("cam1", "other life")
    assert board.answer(TrackKey("cam1", "life", 0, 1), LABEL)
    board.forget("cam1", "life")
    assert not board.answer(TrackKey("cam1", "life", 0, 1), LABEL)
    assert board.refined("cam1") == {}


# The log and the counts.


def test_too_many_decisions_are_left_out_and_counted(tmp_path: Path) -> None:
    now_s = 0.0
    log = DecisionLog(tmp_path, clock=lambda: now_s, wall_clock=lambda: STARTED_AT)
    for _ in range(MOST_A_SECOND + 20):
        log.write("refuse", "size", "small")
    now_s = 1.0
    log.write("refuse", "size", "small", sharpness=float("nan"))
    written = lines(log.path)
    assert (len(written), log.lost) == (MOST_A_SECOND + 1, 20)
    assert written[-1]["left_out_before"] == 20


def test_the_log_begins_anew_when_it_is_large_and_survives_a_bad_disk(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path, clock=lambda: 0.0, rotation=Rotation(max_bytes=300, keep=1))
    for _ in range(10):
        log.write("refuse", "size", "small")
    assert (tmp_path / "decisions.1.jsonl").exists()
    blocked = tmp_path / "file"
    blocked.touch()
    lost = DecisionLog(blocked)
    lost.write("refuse", "size", "small")
    lost.close()
    assert lost.lost == 1


def test_what_cannot_be_compared_is_no_agreement() -> None:
    tally = Tally()
    tally.agreed("cam1", "person", None)
    assert tally.snapshot(None, 0, 0).agreement_of() is None
    for value in (1.0, 1.0, 0.0, 1.0):
        tally.agreed("cam1", "dog", value)
    tally.agreed("cam2", "bus", 0.0)
    assert (tally.agreement_of("cam1"), tally.agreement_of("cam2"), tally.agreement_of("cam3")) == (0.75, 0.0, None)
    figures = tally.snapshot(None, 0, 0)
    assert set(figures.agreement) == {("cam1", "dog"), ("cam2", "bus")}
    assert figures.agreement["cam1", "dog"].mean == 0.75
    assert figures.agreement_of("cam1") == 0.75
    assert figures.agreement_of() == pytest.approx(0.6)
    metrics = figures.metrics()
    assert metrics["escalation/agreement"] == pytest.approx(0.6)
    assert metrics["escalation/agreement/cam1/dog"] == 0.75
    assert "escalation/agreement/cam1/person" not in metrics


def test_agreement_rolls() -> None:
    tally = Tally()
    for value in [0.0] * 200 + [1.0] * 200:
        tally.agreed("cam1", "dog", value)
    agreement = tally.snapshot(None, 0, 0).agreement["cam1", "dog"]
    assert (agreement.count, agreement.mean, agreement.recent) == (400, 0.5, 1.0)


def test_metrics_have_the_agreed_names() -> None:
    tally = Tally()
    tally.add(sent=3, refined=2, sent_bytes=1000)
    tally.add(errors=1, would_send=1)
    for cause in ("audit", "within_band", "within_band"):
        tally.by_cause("chosen", cause)
    tally.by_cause("refused", "size")
    metrics = tally.snapshot(None, spooled=4, spooled_bytes=500).metrics()
    assert metrics["escalation/sent"] == 3
    assert metrics["escalation/refined"] == 2
    assert metrics["escalation/refused/size"] == 1
    assert metrics["escalation/spooled"] == 4
    assert metrics["escalation/breaker"] == 0
    assert metrics["escalation/asked"] == 2
    assert metrics["escalation/chosen/within_band"] == 2
    assert tally.snapshot(None, 0, 0).answered == 3


def test_parcels_of_another_version_are_known_as_such() -> None:
    packed = parcel().packed()
    for broken in (b"", b"xx", packed[:20], b"\0\0\0\2{}", b"\0\0\0\2[]", packed.replace(b'"key"', b'"kee"')):
        with pytest.raises(ValueError, match="no parcel"):
            unpacked(broken)
