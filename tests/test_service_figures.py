"""What the service counts and writes down of itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.service.event_index import EventFilter, EventIndex
from edge.service.figures import MLFLOW_NAMES, STAGE_BOUNDS_S, _buckets
from edge.service.image_log import FOLDER
from stream.windows import LogHistogram
from tests import clips
from tests.clips import Clip
from tests.service_runs import Serving, encoded, until

ROOT = Path(__file__).parent.parent
GREY = encoded(np.full((96, 128, 3), 128, np.uint8))


def samples(service: Serving) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = service.get("/metrics").body.decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_figures_are_named_as_prometheus_names_them(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "yard.mp4", Clip(frames=50))
    content = {"cameras": {"yard": {"source": str(clip), "loop": True, "motion": "off"}}}
    with Serving(tmp_path, content, options={"mlflow": {"enabled": False, "window_s": 0.5}}) as service:
        assert service.post_picture(GREY).status == 200
        awaited = {
            ("videodisco_stage_seconds_count", (("camera", "images"), ("stage", "inference"))): 1,
            ("videodisco_stage_seconds_bucket", (("camera", "yard"), ("le", "+Inf"), ("stage", "total"))): 1,
            ("videodisco_frames_total", (("camera", "yard"),)): 6,
            ("videodisco_camera_state", (("camera", "yard"), ("state", "live"))): 1,
        }

        def all_there() -> dict[tuple[str, tuple[tuple[str, str], ...]], float] | None:
            """The stages are told up to a window late, and a machine that stood still has no live camera."""
            seen = samples(service)
            return seen if all(seen.get(name, 0) >= least for name, least in awaited.items()) else None

        found = until(all_there)
    assert found is not None
    names = {name for name, _ in found}
    assert found["videodisco_images_total", ()] == 1
    assert {"videodisco_model_info", "videodisco_queue_depth", "process_resident_memory_bytes"} <= names
    said = " ".join(MLFLOW_NAMES.values())
    for name in ("videodisco_frames_in_total", "videodisco_camera_connects_total", "videodisco_queue_depth"):
        assert name in said
        assert name in names


def test_each_camera_has_its_queue_and_every_cause_from_the_beginning(tmp_path: Path) -> None:
    clip = clips.write_clip(tmp_path / "yard.mp4", Clip(frames=50))
    content = {
        "cameras": {
            "yard": {"source": str(clip), "loop": True},
            "gate": {"source": "rtsp://127.0.0.1:9/nobody", "wait": True},
        },
        "escalation": {"enabled": True, "shadow": True},
    }
    causes = {"corrupt", "before_keyframe", "late", "overflow", "superseded", "stale", "held_too_long"}

    with Serving(tmp_path, content) as service:
        until(lambda: samples(service).get(("videodisco_frames_total", (("camera", "yard"),)), 0) > 0)
        found = samples(service)
    for camera in ("yard", "gate"):
        assert ("videodisco_queue_depth", (("camera", camera), ("queue", "frames"))) in found
        told = {
            dict(labels)["cause"]
            for name, labels in found
            if name == "videodisco_frames_dropped_total" and ("camera", camera) in labels
        }
        assert causes <= told
        assert {cause for cause in told - causes if not cause.startswith("sink_")} == set()
        assert any(cause.startswith("sink_") for cause in told)
    assert found["videodisco_frames_dropped_total", (("camera", "gate"), ("cause", "overflow"))] == 0
    assert found["videodisco_queue_depth", (("queue", "escalation"),)] >= 0
    for queue in ("images", "image_requests", "viewers"):
        assert ("videodisco_queue_depth", (("queue", queue),)) in found, "as it always was"


def test_the_printed_table_has_what_is_told() -> None:
    printed = (ROOT / "docs" / "http.md").read_text(encoding="utf-8").partition("## Figures")[2]
    for name, told in MLFLOW_NAMES.items():
        for family in re.findall(r"(?:videodisco|process)_[a-z_]+", told):
            assert family in printed, name


def test_buckets_count_what_is_below_their_bounds() -> None:
    histogram = LogHistogram()
    histogram.add(np.array([0.0004, 0.003, 0.003, 0.02, 7.0]))
    buckets = dict(_buckets(histogram))
    assert buckets["0.0005"] == 1
    assert buckets["0.0025"] == 1
    assert buckets["0.005"] == 3
    assert buckets["0.025"] == 4
    assert buckets[str(STAGE_BOUNDS_S[-1])] == 4
    assert buckets["+Inf"] == 5
    values = [count for _, count in _buckets(histogram)]
    assert values == sorted(values)


def test_predictions_go_into_files_that_are_complete_when_they_are_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[Path] = []
    monkeypatch.setattr("edge.run_log.RunLog.artifact", lambda _log, path, _folder: logged.append(path))
    content = {"serve": {"image_log": {"every_s": 1}}}
    with Serving(tmp_path, content) as service:
        for _ in range(3):
            assert service.post_picture(GREY).status == 200
        until(lambda: logged)
        assert service.post_picture(GREY).status == 200
    folder = tmp_path / "serve" / FOLDER
    until(lambda: sorted(folder.glob("*.jsonl")) == logged)
    files = list(logged)
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert len(lines) == 4
    assert {(line["width"], line["height"], line["bytes"]) for line in lines} == {(128, 96, len(GREY))}
    assert len({line["image_sha256"] for line in lines}) == 1
    assert {"model", "latency_ms", "detections", "time"} <= set(lines[0])


def test_no_prediction_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    with Serving(tmp_path, {"serve": {"image_log": {"sample": 0}}}) as service:
        assert service.post_picture(GREY).status == 200
    assert not (tmp_path / "serve" / FOLDER).exists()


def test_predictions_that_would_fill_the_memory_are_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.service.image_log.WAITING_BYTES", 2 * len(GREY))
    monkeypatch.setattr("edge.service.image_log.LOOK_EVERY_S", 60)
    with Serving(tmp_path, options={"mlflow": {"enabled": False, "window_s": 600}}) as service:
        for _ in range(5):
            assert service.post_picture(GREY).status == 200
        image_log = service.hub.image_log
        assert image_log is not None
        assert image_log.lost == 3
        assert service.call(image_log.metrics)["images/predictions_lost"] == 3
    folder = tmp_path / "serve" / FOLDER
    # what waited is written at the end
    until(lambda: [len(path.read_text().splitlines()) for path in folder.glob("*.jsonl")] == [2])


def line(number: int, *, sequence: int = 1, camera: str = "yard") -> str:
    fields = {
        "type": "new",
        "id": f"{number:06}-x",
        "sequence": sequence,
        "camera": camera,
        "class": "person" if number % 2 else "car",
        "confidence": 0.5 + sequence / 100,
        "start_time": f"2026-01-01T00:{number:02}:00.000Z",
        "entered_zones": ["door"] if number % 3 == 0 else [],
    }
    return json.dumps(fields) + "\n"


def test_an_index_that_is_lost_is_made_anew_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("".join(line(n) for n in range(30)) + line(3, sequence=2) + '{"torn')
    index = EventIndex(tmp_path)
    until(lambda: len(index.find(EventFilter(limit=100))) == 30)
    assert [each["id"] for each in index.find(EventFilter(limit=2))] == ["000029-x", "000028-x"]
    assert len(index.find(EventFilter(class_name="person"))) == 15
    assert len(index.find(EventFilter(zone="door"))) == 10
    assert index.find(EventFilter(zone="doo")) == []
    third = index.one("000003-x")
    assert third is not None
    assert third["sequence"] == 2, "the last line of an event counts"
    page = index.find(EventFilter(limit=10))
    newest = 1767225600.0 + 20 * 60
    assert len(index.find(EventFilter(before=(newest, "000020-x"), limit=100))) == 20
    assert page[-1]["id"] == "000020-x"
    index.close(2)
    again = EventIndex(tmp_path)
    until(lambda: len(again.find(EventFilter(limit=100))) == 30)
    again.close(2)
