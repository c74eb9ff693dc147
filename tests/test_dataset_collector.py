"""From a camera's results to pictures in the store."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stream.config import build, load_yaml, to_yaml
from stream.dataset.checking import verify
from stream.dataset.collector import Collector, cut_out
from stream.dataset.duplicates import fingerprint_of
from stream.dataset.sample import Origin, Sample
from stream.dataset.settings import DatasetSettings
from stream.dataset.sink import DatasetSink
from stream.dataset.tracks import Agreements
from stream.errors import SinkError
from stream.frame import FrameResult, Refinement
from tests.datasets import MODEL, NOON, Clock, collector, decoded, files, label, scene
from tests.results import boxes, result, source

ORIGIN = Origin("cam1", NOON, MODEL)


def kept_in(taker: Collector) -> list[Sample]:
    return list(taker.store.manifest.samples())


def fed(taker: Collector, results: Sequence[FrameResult], **options: object) -> DatasetSink:
    sink = DatasetSink(taker, **options)  # type: ignore[arg-type]  # the keywords of DatasetSink
    sink.open(source("gate", started_at=NOON))
    for each in results:
        sink.write(each)
    return sink


def test_nothing_is_kept_unless_somebody_says_so() -> None:
    usual = DatasetSettings()
    assert not usual.enabled
    assert usual.folder_in(Path("runs")) == Path("runs/dataset")
    assert all(strategy.limits for strategy in usual.sampling_strategies), "none fills a disk"


def test_settings_survive_their_file(tmp_path: Path) -> None:
    usual = DatasetSettings()
    (tmp_path / "config.yaml").write_text(to_yaml(usual))
    assert build(DatasetSettings, load_yaml(tmp_path / "config.yaml"), origin="a file") == usual
    assert "disagreement" in json.dumps(DatasetSettings.model_json_schema())


def test_a_frame_is_kept_with_its_boxes_and_its_time(tmp_path: Path) -> None:
    taker = collector(tmp_path)
    found = boxes([(10, 20, 30, 40), (50, 5, 200, 60)], names=["person", "bus"], confidence=[0.4, 0.9])
    fed(taker, [result(50, found, picture=scene(1))]).close()
    [kept] = kept_in(taker)
    assert (kept.kind, kept.class_name, kept.sampler) == ("frame", "bus", "all")
    assert (kept.origin.camera, kept.origin.frame, kept.origin.taken_at) == ("gate", 50, NOON + 2)
    assert kept.origin.model.name == "nanodet-g"
    assert [each.bbox for each in kept.labels] == [(10, 20, 30, 40), (50, 5, 96, 60)], "within the picture"
    assert decoded(taker.store.picture_path(kept.sha256).read_bytes()).shape == (64, 96, 3)


def test_boxes_that_were_carried_over_teach_nothing(tmp_path: Path) -> None:
    taker = collector(tmp_path)
    fed(taker, [result(1, boxes([(1, 1, 9, 9)]), picture=scene(1), carried=True)])
    assert not kept_in(taker)


def test_large_frames_are_made_smaller_with_their_boxes(tmp_path: Path) -> None:
    taker = collector(tmp_path, max_image_size=320)
    fed(taker, [result(1, boxes([(100, 200, 300, 640)]), picture=scene(1, 1280, 640))])
    [kept] = kept_in(taker)
    assert (kept.width, kept.height) == (320, 160)
    assert list(kept.labels[0].bbox) == [25, 50, 75, 160]
    assert decoded(taker.store.picture_path(kept.sha256).read_bytes()).shape == (160, 320, 3)


def test_crops_are_cut_out_with_a_margin(tmp_path: Path) -> None:
    taker = collector(tmp_path, what="crops", margin=0.25)
    found = boxes([(20, 10, 40, 50), (80, 0, 96, 8)], names=["person", "dog"])
    fed(taker, [result(1, found, picture=scene(1))])
    person, dog = kept_in(taker)
    assert [person.kind, person.class_name, dog.class_name] == ["crop", "person", "dog"]
    assert (person.width, person.height) == (40, 60)
    assert list(person.labels[0].bbox) == [10, 10, 30, 50]
    assert (dog.width, dog.height) == (20, 12), "no more than there is"


@pytest.mark.parametrize("bbox", [(-20, 5, -1, 9), (96, 5, 120, 9), (5, 64, 9, 99)])
def test_of_a_box_beside_the_picture_there_is_no_crop(bbox: tuple[float, float, float, float]) -> None:
    assert cut_out(scene(1), label(bbox=bbox), 0.0) is None
    assert cut_out(scene(1), label(bbox=bbox), 0.5) is None


def test_the_cloud_and_the_track_have_their_say(tmp_path: Path) -> None:
    strategies = [{"name": "doubt", "type": "disagreement"}, {"name": "track", "type": "low_agreement_track"}]
    taker = collector(tmp_path, sampling_strategies=strategies)
    refined = {3: Refinement("tram", 0.8, "efficientnet-lite0")}
    sure = [result(n, boxes([(1, 1, 9, 9)], track_ids=[2]), picture=scene(n)) for n in range(5)]
    doubtful = result(5, boxes([(1, 1, 9, 9)], names=["bus"], track_ids=[3]), picture=scene(5), refined=refined)
    slips = [
        result(10 + n, boxes([(1, 1, 9, 9)], names=[name], track_ids=[4]), picture=scene(10 + n))
        for n, name in enumerate(["car", "bus", "car", "bus", "car"])
    ]
    said = Agreements()
    said.tell("gate", (0, 3), "bus", 0.05)
    fed(taker, [*sure, doubtful, *slips], agreement_of=said.of("gate"))
    first, second = kept_in(taker)
    assert (first.sampler, first.labels[0].refined, first.labels[0].agreement) == ("doubt", refined[3], 0.05)
    assert (second.sampler, second.labels[0].track_agreement, second.origin.frame) == ("track", 0.6, 14)


def test_a_picture_that_shows_nothing_new_costs_no_limit(tmp_path: Path) -> None:
    limits = [{"type": "daily", "value": 2}]
    taker = collector(tmp_path, sampling_strategies=[{"name": "all", "type": "random", "limits": limits}])
    still = [result(n, boxes([(10, 10, 30, 30)]), picture=scene(1)) for n in range(20)]
    fed(taker, [*still, *(result(n, picture=scene(n)) for n in range(30, 34))])
    assert [each.origin.frame for each in kept_in(taker)] == [0, 30]
    figures = taker.figures()
    assert (figures.kept, figures.duplicates, figures.above_limit, figures.lost) == (2, 19, 3, 0)
    assert figures.by_sampler == {"all": 2}
    assert figures.metrics()["dataset/duplicates"] == 19


def test_no_picture_is_asked_for_that_would_not_be_taken(tmp_path: Path) -> None:
    clock = Clock()
    limits = [{"type": "minutely", "value": 1}]
    taker = collector(tmp_path, clock, sampling_strategies=[{"name": "all", "type": "random", "limits": limits}])
    sink = fed(taker, [])
    asked = [sink.wants_picture_now]
    sink.write(result(1, picture=scene(1)))
    for now_s in (1000.0, 1059.0, 1060.0):
        clock.now_s = now_s
        asked.append(sink.wants_picture_now)
    assert asked == [True, False, False, True]


def test_a_random_picture_is_known_ahead(tmp_path: Path) -> None:
    strategies = [{"name": "some", "type": "random", "traffic_percentage": 0.2}]
    taker = collector(tmp_path, dice=lambda: 0.5, sampling_strategies=strategies)
    sink = fed(taker, [])
    asked = []
    for number in range(12):
        asked.append(sink.wants_picture_now)
        bare = result(number, picture=scene(number))
        object.__setattr__(bare.frame, "picture", bare.frame.picture if asked[-1] else None)
        sink.write(bare)
    assert asked == ([False] * 3 + [True]) * 3
    assert [each.origin.frame for each in kept_in(taker)] == [3, 7, 11]


def test_limits_outlive_a_restart(tmp_path: Path) -> None:
    strategies = [{"name": "all", "type": "random", "limits": [{"type": "hourly", "value": 3}]}]
    wall_clock = Clock(NOON)
    for turn in range(4):
        taker = collector(tmp_path, Clock(turn * 1e6), wall_clock, sampling_strategies=strategies)
        for number in range(2):
            taker.offer(scene(2 * turn + number), [], ORIGIN, kind="frame")
        taker.close()
        wall_clock.now_s += 1200
    # two at the beginning, one after 20 minutes, none after 40, two after an hour
    assert [(each.kept_at - NOON) / 1200 for each in kept_in(taker)] == [0, 0, 1, 3, 3]


def test_a_refiner_offers_what_it_was_sent(tmp_path: Path) -> None:
    strategies = [{"name": "doubt", "type": "disagreement"}]
    taker = collector(tmp_path, sampling_strategies=strategies)
    jpeg = b"\xff\xd8 as it came"
    kept = taker.offer(scene(1), [label("bus", agreement=0.1)], ORIGIN, kind="crop", jpeg=jpeg)
    assert kept is not None
    assert taker.store.picture_path(kept.sha256).read_bytes() == jpeg
    assert taker.offer(scene(2), [label("bus", agreement=0.9)], ORIGIN, kind="crop", jpeg=jpeg) is None


def test_the_fingerprint_is_that_of_the_file(tmp_path: Path) -> None:
    noisy = np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8)
    taker = collector(tmp_path, jpeg_quality=10)
    kept = taker.offer(noisy, [], ORIGIN, kind="crop")
    assert kept is not None
    found = fingerprint_of(decoded(taker.store.picture_path(kept.sha256).read_bytes()))
    assert kept.fingerprint == found != fingerprint_of(noisy)


def test_what_is_too_old_goes_now_and_then(tmp_path: Path) -> None:
    clock, wall_clock = Clock(), Clock(NOON)
    taker = collector(tmp_path, clock, wall_clock, keep_days=1)
    taker.offer(scene(1), [], ORIGIN, kind="frame")
    wall_clock.now_s += 90_000
    clock.now_s += 90_000
    taker.offer(scene(2), [], ORIGIN, kind="frame")
    assert len(kept_in(taker)) == 1
    assert len(list(files(tmp_path))) == 1


def test_a_full_disk_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    limits = [{"type": "daily", "value": 1}]
    taker = collector(tmp_path, sampling_strategies=[{"name": "all", "type": "random", "limits": limits}])
    monkeypatch.setattr(os, "fsync", full)
    sink = fed(taker, [result(n, picture=scene(n)) for n in range(3)])
    assert caplog.text.count("pictures for the data set of gate are lost") == 1
    monkeypatch.undo()
    sink.write(result(3, picture=scene(3)))
    assert [each.origin.frame for each in kept_in(taker)] == [3], "what was lost cost no limit"
    assert taker.figures().lost == 3
    with pytest.raises(SinkError, match="no space left"):
        sink.close()
    sink.close()
    assert verify(taker.store, NOON).is_sound


def test_cameras_share_limits(tmp_path: Path) -> None:
    strategies = [{"name": "all", "type": "random", "limits": [{"type": "daily", "value": 3}]}]
    taker = collector(tmp_path, sampling_strategies=strategies)
    for number in range(4):
        fed(taker, [result(number, picture=scene(number))])
    assert len(kept_in(taker)) == 3


def test_a_picture_is_never_changed(tmp_path: Path) -> None:
    picture = scene(1)
    before = picture.copy()
    picture.flags.writeable = False
    fed(collector(tmp_path, what="crops"), [result(1, boxes([(10, 10, 30, 30)]), picture=picture)])
    np.testing.assert_array_equal(picture, before)
