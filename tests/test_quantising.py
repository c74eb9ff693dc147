"""Quantising: what is left in float, when it is refused, and that it is held against the float model and the truth."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, load_from_string

from edge import quantise_report
from edge.quantising import Asked, Quantising, Result
from edge.truth import read_truth
from models import quantising
from models.catalogue import content_of, find
from models.families import Boxes
from models.matching import Agreement, agreement, agreement_above
from models.quantising import S8S8, U8S8, Quantiser, search
from models.session import open_session
from models.shelf.derived import operators_run
from stream.errors import ModelError, UsageError
from tests import model_files
from tests.commands import in_process

FLOAT = TensorProto.FLOAT


def network(score_bias: float = 0.0) -> ModelProto:
    """Four convolutions in the layout of YOLOv8: 64x64 pixels in, 64 cells with a box each that hardly moves, two
    classes. No node but the last has a name."""
    rng = np.random.default_rng(5)
    rows, columns = np.divmod(np.arange(64), 8)
    grid = np.stack([columns * 8 + 4, rows * 8 + 4, np.full(64, 10), np.full(64, 10)])[None].astype(np.float32)
    tensors = [
        model_files.raw("stem", rng.normal(0, 0.2, (16, 3, 4, 4)).astype(np.float32)),
        model_files.raw("middle", rng.normal(0, 0.2, (32, 16, 2, 2)).astype(np.float32)),
        model_files.raw("moves", rng.normal(0, 0.05, (4, 32, 2, 2)).astype(np.float32)),
        model_files.raw("scores", rng.normal(0, 0.6, (2, 32, 2, 2)).astype(np.float32)),
        model_files.raw("bias", np.full(2, score_bias, np.float32)),
        model_files.raw("grid", grid),
        model_files.raw("four", np.array([1, 4, 64])),
        model_files.raw("two", np.array([1, 2, 64])),
    ]
    nodes = [
        helper.make_node("Conv", ["images", "stem"], ["a"], strides=[4, 4]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "middle"], ["c"], pads=[0, 0, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "moves"], ["e"], strides=[2, 2]),
        helper.make_node("Conv", ["d", "scores", "bias"], ["f"], strides=[2, 2]),
        helper.make_node("Reshape", ["e", "four"], ["g"]),
        helper.make_node("Add", ["g", "grid"], ["h"]),
        helper.make_node("Reshape", ["f", "two"], ["i"]),
        helper.make_node("Sigmoid", ["i"], ["j"]),
        helper.make_node("Concat", ["h", "j"], ["output0"], axis=1, name="end"),
    ]
    picture = helper.make_tensor_value_info("images", FLOAT, [1, 3, 64, 64])
    output = helper.make_tensor_value_info("output0", FLOAT, [1, 6, 64])
    model = model_files.of(helper.make_graph(nodes, "small", [picture], [output], tensors))
    names = {"names": "{0: 'person', 1: 'bicycle'}", "task": "detect", "imgsz": "[64, 64]", "license": "MIT"}
    helper.set_model_props(model, names)
    return model


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is said about speed here, and so small a network gains none; and a few pictures are as good as many."""
    monkeypatch.setattr("edge.quantising.PICTURES", 30)
    monkeypatch.setattr("edge.quantising.TURN_S", 0.02)
    monkeypatch.setattr("edge.quantising.LEAST_GAIN", 0.0)


def noise(count: int = 6) -> list[NDArray[np.uint8]]:
    return [np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8) for seed in range(count)]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return model_files.save(network(), tmp_path / "small.onnx")


@pytest.fixture
def quantiser(small: Path) -> Iterator[Quantiser]:
    model = find(str(small))
    session = open_session(model, device="cpu", threads=1, shape=None)
    with Quantiser(content_of(model), [dict(session.feed(pixels)) for pixels in noise()]) as ready:
        yield ready


def agreeing(f1: float) -> Agreement:
    return Agreement(round(f1 * 1000), 1000 - round(f1 * 1000), 1000 - round(f1 * 1000), 0.0, 1.0)


def test_the_end_is_spared_first_and_the_beginning_next(quantiser: Quantiser) -> None:
    kinds = [sorted(name.rpartition("_")[0] for name in step) for step in quantiser.parts.steps]
    assert kinds[0] == sorted(["Conv", "Conv", "Reshape", "Reshape", "Add", "Sigmoid", ""])
    assert quantiser.parts.steps[0] < quantiser.parts.steps[1]
    assert kinds[1] == sorted([*kinds[0], "Conv", "Relu"])


def test_what_is_not_spared_runs_in_integers_and_the_metadata_stays(quantiser: Quantiser) -> None:
    made = quantiser.make(U8S8, quantiser.parts.steps[0])
    ran = operators_run("small", made, noise(1)[0])
    assert (ran["QLinearConv"], ran["Conv"] + ran["FusedConv"]) == (2, 2)
    metadata = {entry.key: entry.value for entry in load_from_string(made).metadata_props}
    assert metadata["names"] == "{0: 'person', 1: 'bicycle'}"


def test_pictures_are_asked_for_once(small: Path) -> None:
    model = find(str(small))
    session = open_session(model, device="cpu", threads=1, shape=None)
    asked = iter([dict(session.feed(pixels)) for pixels in noise(2)])
    with Quantiser(content_of(model), asked) as quantiser:
        first = quantiser.make(U8S8, quantiser.parts.steps[0])
        assert quantiser.make(U8S8, quantiser.parts.steps[0]) == first


def test_more_is_left_in_float_until_it_agrees(quantiser: Quantiser) -> None:
    quality = iter([0.9, 0.96, 0.98, 0.5, 0.99])
    profile = Counter({"QLinearConv": 2, "Conv": 2})
    found = list(search(quantiser, lambda _: agreeing(next(quality)), lambda _: profile, least_f1=0.97))
    assert [(each.activations, each.float_step) for each in found] == [
        *((U8S8, n) for n in range(3)),
        (S8S8, 0),
        (S8S8, 1),
    ]
    assert [bool(each.problem) for each in found] == [True, True, False, True, False]


def test_what_never_agrees_is_tried_to_the_end(quantiser: Quantiser) -> None:
    profile = Counter({"QLinearConv": 2})
    found = list(search(quantiser, lambda _: agreeing(0.9), lambda _: profile, least_f1=0.97))
    assert len(found) == 2 * len(quantiser.parts.steps)
    assert all("F1 0.900, less than 0.97" in each.problem for each in found)


def test_what_stays_float_inside_is_no_success(quantiser: Quantiser) -> None:
    found = list(search(quantiser, lambda _: agreeing(1.0), lambda _: Counter({"Conv": 4}), least_f1=0.97))
    assert [each.float_step for each in found] == [0, 0]
    assert all("none of its convolutions in integers" in each.problem for each in found)


def half(model: ModelProto) -> ModelProto:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def without_convolutions() -> ModelProto:
    return model_files.with_nodes([helper.make_node("Relu", ["images"], ["out"], name="relu")])


@pytest.mark.parametrize(
    ("model", "words"),
    [(half(network()), "float16"), (without_convolutions(), "no convolutions")],
    ids=["half", "none"],
)
def test_what_cannot_be_quantised_is_refused(model: ModelProto, words: str) -> None:
    with pytest.raises(ModelError, match=words), Quantiser(model.SerializeToString(), []):
        pass


def test_a_quantised_model_is_not_quantised_again(quantiser: Quantiser) -> None:
    made = quantiser.make(U8S8, quantiser.parts.steps[0])
    with pytest.raises(ModelError, match="8-bit integers already"), Quantiser(made, []):
        pass


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"videodisco\[quantize\]"):
        quantising.check_installed()


@pytest.fixture
def quantised(small: Path, carphone_clip: Path) -> tuple[Quantising, Result]:
    asked = Asked(str(small), (carphone_clip,), "small-int8", least_f1=0.6)
    made = Quantising(asked)
    return made, made.run()


def test_the_stages_are_said_before_and_each_network_after_it_was_tried(small: Path, carphone_clip: Path) -> None:
    said: list[str] = []
    made = Quantising(
        Asked(str(small), (carphone_clip,), "small-int8", least_f1=0.6),
        say=lambda stage: said.append(stage.split()[0]),
        tried=lambda attempt: said.append(attempt.activations),
    )
    assert said == ["taking", "looking"]
    made.run()
    assert [word for word, _ in itertools.groupby(said)][:4] == ["taking", "looking", "making", "U8S8"]
    assert said[-1] == "measuring"


def test_a_model_is_quantised_judged_and_kept(quantised: tuple[Quantising, Result], tmp_path: Path) -> None:
    made, result = quantised
    assert result.chosen is not None
    made.keep(result)
    kept = find("small-int8")
    assert kept.card is not None
    assert kept.card["precision"].startswith("int8: ")
    assert kept.card["licence"] == "MIT"
    assert kept.card["source"]["location"] == "quantised here from small"
    quantise_report.write(result, tmp_path)
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["kept"]
    assert told["judged_on_frames"] == 2 * told["calibrated_on_frames"]
    assert told["chosen"]["integer_convolutions"] > 0
    assert told["speed"]["ratio"] > 0
    pictures = sorted(path.name for path in tmp_path.glob("*.jpg"))
    assert 3 <= len(pictures) <= quantise_report.PICTURES
    assert all(f"({name})" in (tmp_path / "report.md").read_text() for name in pictures)


def test_what_is_not_faster_is_not_kept(small: Path, carphone_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.quantising.LEAST_GAIN", 1000.0)
    made = Quantising(Asked(str(small), (carphone_clip,), "never", least_f1=0.6))
    result = made.run()
    assert "times as fast on this processor, which is not worth it" in result.problem
    with pytest.raises(ModelError, match="not worth it"):
        made.keep(result)


def test_a_name_that_is_taken_is_said_before_the_work(small: Path, carphone_clip: Path) -> None:
    with pytest.raises(UsageError, match="name of a bundled model"):
        Quantising(Asked(str(small), (carphone_clip,), "nanodet-g-416"))


def test_a_model_that_finds_nothing_cannot_be_judged(tmp_path: Path, carphone_clip: Path) -> None:
    blind = model_files.save(network(score_bias=-50), tmp_path / "blind.onnx")
    result = Quantising(Asked(str(blind), (carphone_clip,))).run()
    assert result.chosen is None
    assert "finds only 0 boxes" in result.problem


def test_it_is_held_against_what_people_marked(small: Path, carphone_clip: Path, tmp_path: Path) -> None:
    """Marked is what the float model finds, so that nothing but the 8 bits can be wrong; then something else."""
    plain = Quantising(Asked(str(small), (carphone_clip,), least_f1=0.6)).run()
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps(coco(plain)))
    asked = Asked(str(small), (carphone_clip,), least_f1=0.6, truths=(truth,))
    (marked,) = Quantising(asked).run().marked
    assert marked.exact.f1 == 1.0
    assert 0.6 <= marked.quick.f1 <= 1.0
    truth.write_text(json.dumps(coco(plain, move=1000.0)))
    (marked,) = Quantising(asked).run().marked
    assert (marked.exact.f1, marked.quick.f1) == (0.0, 0.0)


def coco(result: Result, move: float = 0.0) -> dict[str, list[dict[str, object]]]:
    annotations: list[dict[str, object]] = []
    for each in result.compared:
        assert each.frame.letterbox is not None
        for box, number in zip(each.frame.letterbox.to_source(each.exact.xyxy), each.exact.class_id, strict=True):
            left, top, right, bottom = (float(value) + move for value in box)
            bbox = [left, top, right - left, bottom - top]
            annotations.append({"image_id": each.frame.index, "category_id": int(number), "bbox": bbox})
    images: list[dict[str, object]] = [
        {"id": each.frame.index, "file_name": f"frame_{each.frame.index:06}.jpg"} for each in result.compared
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 0, "name": "Person"}, {"id": 1, "name": "bicycle"}],
    }


def test_mot_counts_frames_from_one_and_leaves_ignored_lines_out(tmp_path: Path) -> None:
    path = tmp_path / "gt.txt"
    path.write_text("1,1,10,20,30,40,1,1,1\n3,1,12,20,30,40,1\n3,2,0,0,5,5,0,1,1\n")
    truth = read_truth(path, ["bicycle", "person"])
    assert sorted(truth) == [0, 2]
    np.testing.assert_array_equal(truth[0].xyxy, [[10, 20, 40, 60]])
    assert truth[2].class_id.tolist() == [1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "neither|no boxes"),
        ('{"images": []}', "no boxes"),
        ("1,2,3", "no boxes"),
        ("", "marks nothing"),
        ('{"images": [], "annotations": [], "categories": []}', "marks nothing"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "truth"
    path.write_text(content)
    with pytest.raises(UsageError, match=words):
        read_truth(path, ["person"])


def test_mot_is_of_people(tmp_path: Path) -> None:
    path = tmp_path / "gt.txt"
    path.write_text("1,1,10,20,30,40,1\n")
    with pytest.raises(UsageError, match="marks nothing that this model finds"):
        read_truth(path, ["face"])


def boxes(*rows: tuple[float, float, float, float, float]) -> Boxes:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Boxes(table[:, :4], table[:, 4], np.zeros(len(table), np.int64))


def test_drift_is_of_the_corner_that_moved_most() -> None:
    seen = agreement([(boxes((0, 0, 10, 10, 0.9)), boxes((0, 1, 10, 8, 0.8)))])
    assert (seen.f1, seen.boxes, seen.box_drift_px) == (1.0, 1, 2.0)
    assert seen.score_drift == pytest.approx(0.1, abs=1e-6)


def test_the_threshold_goes_down_until_there_is_enough_to_judge_by() -> None:
    rows = [(20.0 * n, 0.0, 20.0 * n + 10, 10.0, 0.1 + 0.02 * n) for n in range(20)]
    pairs = [(boxes(*rows), boxes(*rows))]
    assert agreement_above(pairs, 0.4, least_boxes=5)[1] == 0.4
    seen, confidence = agreement_above(pairs, 0.4, least_boxes=15)
    assert (seen.boxes, confidence) == (15, 0.2)
    assert agreement_above(pairs, 0.4, least_boxes=100)[1] == 0.05


@pytest.mark.slow
def test_the_command_refuses_what_does_not_agree_and_says_where_the_report_is(
    small: Path,
    carphone_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--calibrate", carphone_clip, "--least-f1", "1", "--name", "never")
    ended = in_process(capsys, "models", "quantize", small, *options)
    assert ended.code == 4
    assert "small is not quantised" in ended.sentence
    *stages, _ = ended.err.splitlines()
    assert [stage.split()[0] for stage in stages] == ["taking", "looking", "making"]
    assert ended.out.count("U8S8, step 0: F1") == 1
    assert (tmp_path / "runs" / "quantize-never" / "report.md").exists()
    with pytest.raises(ModelError, match="there is no model"):
        find("never")
