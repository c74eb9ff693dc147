"""The bundled refiner against PyTorch's answers, its builds against each other, and classifiers of one's own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, save

from models.agreement import FinerNames
from models.build.clips import frame_count, held_out_indices
from models.build.efficientnet_crops import crops, cut
from models.build.efficientnet_evaluate import drift
from models.catalogue import AUTO, FLOAT, bundled_names, find
from models.classifier import (
    REFINER_FLOAT,
    REFINER_INT8,
    Classifier,
    Guess,
    default_classifier,
    open_classifier,
    top_k,
)
from models.families import recognise
from models.session import inspect
from models.spec import Preparation
from stream.errors import ModelError

Pixels = NDArray[np.uint8]

# What the PyTorch network says of the pictures below: the four best labels by number.
REFERENCE = (
    {885: 0.123564, 818: 0.067386, 73: 0.058054, 782: 0.030782},
    {782: 0.184324, 885: 0.161065, 772: 0.026202, 392: 0.023223},
    {782: 0.079679, 772: 0.050335, 906: 0.049598, 556: 0.025431},
    {741: 0.044906, 906: 0.031208, 782: 0.031036, 392: 0.026265},
)


def waves(number: int) -> Pixels:
    """A smooth RGB picture that looks like nothing, the same on every machine."""
    rows, columns = np.mgrid[0:224, 0:224] / 224
    planes = [
        np.sin((number + 1) * (3 + c) * rows + c) * np.cos((number + 2) * (2 + c) * columns - number) for c in range(3)
    ]
    return (np.stack(planes, axis=-1) * 127 + 128).astype(np.uint8)


def load(name: str, threads: int = 1) -> Classifier:
    return open_classifier(find(name), device="cpu", threads=threads)


@pytest.fixture(scope="module")
def exact() -> Classifier:
    return load(REFINER_FLOAT)


@pytest.fixture(scope="module")
def quick() -> Classifier:
    return load(REFINER_INT8)


@pytest.fixture(scope="module")
def pictures() -> Pixels:
    return np.stack([waves(number) for number in range(4)])


def test_the_float_build_says_what_the_pytorch_network_says(exact: Classifier, pictures: Pixels) -> None:
    for seen, expected in zip(exact.run(pictures), REFERENCE, strict=True):
        assert list(np.argsort(-seen)[:4]) == list(expected)
        np.testing.assert_allclose(seen[list(expected)], list(expected.values()), rtol=2e-4)


@pytest.mark.parametrize("name", [REFINER_FLOAT, REFINER_INT8])
def test_the_file_says_the_same_as_its_card(name: str) -> None:
    model, spec = find(name), inspect(find(name))
    assert model.card is not None
    assert list(spec.names) == model.card["classes"]
    assert (spec.task, spec.input.rgb, spec.input.dtype) == ("classify", True, "uint8")
    assert (spec.input.height, spec.input.width) == (224, 224)
    assert model.card["measured"]["speed"]


@pytest.mark.parametrize("build", ["exact", "quick"])
def test_rows_are_probabilities_and_do_not_depend_on_their_batch(
    request: pytest.FixtureRequest, build: str, pictures: Pixels
) -> None:
    classifier: Classifier = request.getfixturevalue(build)
    together = classifier.run(pictures)
    alone = np.concatenate([classifier.run(pictures[number : number + 1]) for number in range(4)])
    assert together.shape == (4, 1000)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_int8_agrees_with_float_on_crops_it_was_not_calibrated_on(
    exact: Classifier, quick: Classifier, bikes_clip: Path
) -> None:
    indices = held_out_indices(frame_count(bikes_clip), 12)
    pictures = np.stack([exact.prepare(crop) for crop in crops(bikes_clip, indices)])
    # All at once would take 700 MB, which a process does not give back.
    parts = [pictures[begin : begin + 4] for begin in range(0, len(pictures), 4)]
    seen = drift(*(np.concatenate([build.run(part) for part in parts]) for build in (exact, quick)))
    assert seen["crops"] >= 20
    assert seen["same_best"] >= 0.8
    assert seen["best_within_best_five"] >= 0.95
    assert seen["mean_kl_divergence"] < 0.03


def test_cars_of_a_street_are_refined(quick: Classifier, bikes_clip: Path) -> None:
    finer = FinerNames(quick.names)
    whole = [crop for crop in crops(bikes_clip, {70}) if min(crop.shape[:2]) > 200]
    verdicts = [finer.judge("car", row) for row in quick.classify(whole)]
    assert any(verdict.agrees and (verdict.agreement or 0) > 0.3 for verdict in verdicts)
    assert all(finer.agreement("dog", row) is not None for row in quick.classify(whole))


def test_threads_share_a_classifier(quick: Classifier, pictures: Pixels) -> None:
    alone = [quick.run(pictures[number : number + 2]) for number in (0, 1, 2)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda number: quick.run(pictures[number : number + 2]), (0, 1, 2)))
    for expected, seen in zip(alone, together, strict=True):
        np.testing.assert_array_equal(seen, expected)


def test_no_crops_no_rows(quick: Classifier) -> None:
    assert quick.classify([]).shape == (0, 1000)
    assert quick.run(np.zeros((0, 224, 224, 3), np.uint8)).shape == (0, 1000)


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (900, 2), (224, 224), (1080, 1920)])
def test_crops_of_any_size_are_taken(quick: Classifier, size: tuple[int, int]) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert quick.prepare(crop).shape == (224, 224, 3)
    assert quick.classify([crop]).shape == (1, 1000)


def test_crops_are_bgr_and_the_network_sees_rgb(quick: Classifier) -> None:
    crop = np.zeros((50, 40, 3), np.uint8)
    crop[..., 0], crop[..., 2] = 10, 200
    assert quick.prepare(crop)[100, 100].tolist() == [200, 0, 10]


@pytest.mark.parametrize("pictures", [np.zeros((1, 200, 224, 3), np.uint8), np.zeros((1, 224, 224, 3), np.float32)])
def test_pictures_of_another_shape_are_refused(quick: Classifier, pictures: NDArray[Any]) -> None:
    with pytest.raises(ModelError, match=r"takes uint8 \(n, 224, 224, 3\) pixels, got"):
        quick.run(pictures)


def test_the_best_labels_come_first_and_equals_in_order() -> None:
    row = np.array([0.125, 0.25, 0.125, 0.5], np.float32)
    assert top_k(row, "abcd", 3) == (Guess("d", 0.5), Guess("b", 0.25), Guess("a", 0.125))
    assert len(top_k(row, "abcd", 9)) == 4
    even = np.full(4, 0.25, np.float32)
    assert [guess.label for guess in top_k(even, "abcd", 2)] == ["a", "b"]


def test_the_default_suits_the_processor() -> None:
    assert default_classifier({"avx512_vnni"}) == REFINER_INT8
    assert default_classifier({"sse2"}) == REFINER_FLOAT
    assert default_classifier() in bundled_names()


def test_the_default_detector_is_none_of_them() -> None:
    assert find(AUTO).name.startswith("nanodet")


@pytest.mark.parametrize("name", [REFINER_FLOAT, REFINER_INT8])
def test_a_classifier_is_refused_as_a_detector(name: str) -> None:
    with pytest.raises(ModelError, match=f"{name} is made for the task 'classify': only detection models can be run"):
        recognise(inspect(find(name)))


def test_a_detector_is_refused_as_a_classifier() -> None:
    with pytest.raises(ModelError, match=f"{FLOAT} is no classifier: its task is 'detect', its outputs are scores_8"):
        load(FLOAT)


def test_a_margin_is_cut_as_far_as_there_is_one() -> None:
    picture = np.arange(100 * 200 * 3, dtype=np.uint32).reshape(100, 200, 3).astype(np.uint8)
    inside = cut(picture, np.array([50, 20, 90, 60], np.float32))
    np.testing.assert_array_equal(inside, picture[16:65, 46:95])
    assert cut(picture, np.array([0, 0, 200, 100], np.float32)).shape == (100, 200, 3)


def own(
    folder: Path,
    *,
    batch: int | str = "batch",
    channels_last: bool = False,
    dtype: int = TensorProto.FLOAT,
    softmax: bool = False,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A classifier of three classes: how much red, green and blue there is in a picture of 8x6."""
    shape: list[int | str] = [batch, 6, 8, 3] if channels_last else [batch, 3, 6, 8]
    axes = [1, 2] if channels_last else [2, 3]
    nodes = [
        helper.make_node("Cast", ["images"], ["levels"], name="levels", to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["levels", "axes"], ["mean"], name="mean", keepdims=0),
        helper.make_node("Softmax" if softmax else "Identity", ["mean"], ["scores"], name="scores"),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", dtype, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(np.array(axes), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    helper.set_model_props(model, {"names": "['red', 'green', 'blue']"} if metadata is None else metadata)
    save(model, folder / "own.onnx")
    return folder / "own.onnx"


def opened(path: Path, **more: Any) -> Classifier:
    return open_classifier(find(str(path)), device="cpu", threads=1, **more)


def softmax(*scores: float) -> NDArray[np.float64]:
    powers = np.exp(np.array(scores))
    return np.asarray(powers / powers.sum(), np.float64)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_float_classifier_of_ones_own(tmp_path: Path, dtype: int, channels_last: bool) -> None:
    classifier = opened(own(tmp_path, dtype=dtype, channels_last=channels_last))
    assert (classifier.names, classifier.height, classifier.width) == (("red", "green", "blue"), 6, 8)
    crop = np.full((30, 40, 3), (255, 0, 51), np.uint8)
    np.testing.assert_allclose(classifier.classify([crop])[0], softmax(0.2, 0, 1), rtol=1e-3)


def test_pixels_are_prepared_as_its_metadata_say(tmp_path: Path) -> None:
    metadata = {"names": "['r', 'g', 'b']", "mean": "[1, 2, 3]", "std": "[10, 100, 1000]", "colour": "bgr"}
    classifier = opened(own(tmp_path, metadata=metadata))
    crop = np.full((6, 8, 3), (11, 102, 103), np.uint8)
    np.testing.assert_allclose(classifier.classify([crop])[0], softmax(1, 1, 0.1), rtol=1e-5)


def test_pixels_are_prepared_as_its_user_says(tmp_path: Path) -> None:
    preparation = Preparation(rgb=True, mean=(3, 2, 1), std=(1000, 100, 10))
    classifier = opened(own(tmp_path), preparation=preparation)
    crop = np.full((6, 8, 3), (11, 102, 103), np.uint8)
    np.testing.assert_allclose(classifier.classify([crop])[0], softmax(0.1, 1, 1), rtol=1e-5)
    with pytest.raises(ModelError, match="std of 0"):
        opened(own(tmp_path), preparation=Preparation(std=(0, 1, 1)))


def test_probabilities_stay_as_they_are(tmp_path: Path) -> None:
    classifier = opened(own(tmp_path, softmax=True))
    crop = np.full((6, 8, 3), (255, 0, 51), np.uint8)
    np.testing.assert_allclose(classifier.classify([crop])[0], softmax(0.2, 0, 1), rtol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_a_fixed_batch_is_filled_up_and_taken_in_turns(tmp_path: Path, count: int) -> None:
    classifier = opened(own(tmp_path, batch=4))
    levels = np.arange(count, dtype=np.uint8) * 20
    pictures = np.zeros((count, 6, 8, 3), np.uint8)
    pictures[..., 1] = levels[:, None, None]
    expected = [softmax(0, level / 255, 0) for level in levels.tolist()]
    np.testing.assert_allclose(classifier.run(pictures), expected, rtol=1e-5)


def test_labels_may_be_given(tmp_path: Path) -> None:
    classifier = opened(own(tmp_path, metadata={}), labels=["rot", "gruen", "blau"])
    assert classifier.names == ("rot", "gruen", "blau")


@pytest.mark.parametrize(
    ("labels", "reason"),
    [(None, "own names no classes: give its 3 labels"), (["one"], "own tells 3 classes apart, but there are 1 labels")],
)
def test_labels_must_fit(tmp_path: Path, labels: list[str] | None, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        opened(own(tmp_path, metadata={}), labels=labels)


def test_a_model_for_another_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="own is no classifier: its task is 'pose'"):
        opened(own(tmp_path, metadata={"task": "pose"}))
