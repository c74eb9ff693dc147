"""Hostile model files: each refused in one sentence, before anything parses or runs it, with bounded work."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper

from models import files, guard
from models.catalogue import find
from models.guard import MAX_FIELDS, Survey, survey
from models.session import open_unadmitted
from models.wire import Budget, MalformedError, TooMuchWorkError, fields
from stream.errors import ModelError
from tests.model_files import detector, external, loop, of, raw, save, with_nodes


def seen(model: ModelProto) -> Survey:
    return survey(model.SerializeToString(), "it.onnx")


def identity(name: str = "out") -> NodeProto:
    return helper.make_node("Identity", ["images"], [name])


def test_a_detector_is_surveyed() -> None:
    found = seen(detector())
    assert (found.nodes, found.precision, found.external) == (4, "float32", ())
    assert found.operators == {"Conv": 1, "Reshape": 1, "Slice": 1, "Concat": 1}
    assert found.weights == {TensorProto.FLOAT: 6 * 3 * 8 * 8 * 4, TensorProto.INT64: 6 * 8}
    assert found.metadata["imgsz"] == "[64, 64]"
    assert found.fields_read < 200


@pytest.mark.parametrize(
    ("dtype", "precision"), [(np.float16, "float16"), (np.float32, "float32"), (np.int8, "int8"), (np.uint8, "int8")]
)
def test_precision_is_what_most_weights_are_stored_in(dtype: type, precision: str) -> None:
    assert seen(with_nodes([identity()], [raw("w", np.zeros(99, dtype)), raw("i", np.zeros(4))])).precision == precision


def test_quantising_operators_make_it_int8() -> None:
    assert survey(find("nanodet-g-416-int8").path.read_bytes(), "m").precision == "int8"


def test_weights_that_are_only_stored_in_half_do_not_make_it_float16() -> None:
    assert survey(find("nanodet-g-416").path.read_bytes(), "m").precision == "float32, weights stored as float16"


def declared(*dims: int, kind: int = TensorProto.FLOAT) -> ModelProto:
    tensor = TensorProto(name="w", data_type=kind, dims=dims, raw_data=b"1234")
    return with_nodes([identity()], [tensor])


def shaped(*dims: int) -> ModelProto:
    model = with_nodes([identity()])
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, dims)
    model.graph.input[0].CopyFrom(picture)
    return model


def constant(name: str, values: list[int]) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=raw("v", np.array(values)))


def nested(depth: int) -> ModelProto:
    graph = helper.make_graph([identity("end")], "g", [], [helper.make_empty_tensor_value_info("end")])
    for _ in range(depth):
        node = helper.make_node("If", ["c"], ["end"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "g", [], [helper.make_empty_tensor_value_info("end")])
        graph.node[0].attribute.pop()
    return of(graph)


def calling(rounds: int, times: int) -> ModelProto:
    """Functions that each call the next one several times: what is a page of text becomes a billion operations."""
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    functions = [
        helper.make_function(
            "mine",
            f"f{number}",
            ["x"],
            ["y"],
            [helper.make_node(f"f{number + 1}", ["x"], ["y"], domain="mine") for _ in range(times)]
            if number < rounds
            else [helper.make_node("Relu", ["x"], ["y"])],
            opset,
        )
        for number in range(rounds + 1)
    ]
    model = with_nodes([helper.make_node("f0", ["images"], ["out"], domain="mine")])
    return of(model.graph, functions)


def crowded(nodes: int) -> ModelProto:
    model = with_nodes([])
    model.graph.node.extend([identity()] * nodes)
    return model


def endless(trips: list[int], body: list[NodeProto], ends_with: str = "goes_on") -> ModelProto:
    """A loop of so many rounds, none for as many as its condition wants."""
    name = "trips" if trips else ""
    return with_nodes([*([constant("trips", trips)] if trips else []), loop(name, "", body, ends_with)])


HOSTILE: dict[str, tuple[Callable[[], ModelProto], str]] = {
    "custom operator": (
        lambda: with_nodes([helper.make_node("Shell", ["images"], ["out"], domain="evil.ops")]),
        "needs the operator 'Shell' of 'evil.ops', code that is not part of onnxruntime",
    ),
    "custom operator in a branch": (
        lambda: with_nodes([loop("n", "", [helper.make_node("X", [], ["y"], domain="evil")], "goes_on")]),
        "needs the operator 'X' of 'evil'",
    ),
    "terabytes declared": (lambda: declared(1 << 40), "of the shape 1099511627776, which no detector needs"),
    "many sizes declared": (lambda: declared(*[2] * 40), "which no detector needs"),
    "negative size": (lambda: declared(-4), "of the shape -4"),
    "more declared than held": (lambda: declared(1000), "declares 1000 numbers but holds 4 bytes"),
    "less declared than held": (lambda: declared(0), "declares 0 numbers but holds 4 bytes"),
    "unknown type": (lambda: declared(1, kind=99), "of an unknown type of numbers"),
    "absurd picture": (lambda: shaped(1, 3, 100_000, 100_000), "of the shape 1 x 3 x 100000 x 100000"),
    "many pictures": (lambda: shaped(60_000, 3, 640, 640), "of the shape 60000 x 3"),
    "shape of a thousand sizes": (lambda: shaped(*[1] * 1000), "which no detector needs"),
    "made out of nothing": (
        lambda: with_nodes([constant("s", [1 << 20, 1 << 20]), helper.make_node("ConstantOfShape", ["s"], ["out"])]),
        "would fill the memory: ConstantOfShape",
    ),
    "expanded": (
        lambda: with_nodes([helper.make_node("Expand", ["images", "s"], ["out"])], [raw("s", [1 << 40])]),
        "would fill the memory: Expand",
    ),
    "tiled": (
        lambda: with_nodes([constant("s", [1 << 30]), helper.make_node("Tile", ["images", "s"], ["out"])]),
        "would fill the memory: Tile",
    ),
    "enlarged": (
        lambda: with_nodes(
            [helper.make_node("Resize", ["images", "", "s"], ["out"])], [raw("s", np.array([1e4], np.float32))]
        ),
        "would fill the memory: Resize",
    ),
    "counted up": (
        lambda: with_nodes(
            [helper.make_node("Range", ["a", "b", "c"], ["out"])],
            [raw("a", np.float32(0)), raw("b", np.float32(1e20)), raw("c", np.float32(1))],
        ),
        "would fill the memory: Range",
    ),
    "padded": (
        lambda: with_nodes([helper.make_node("MaxPool", ["images"], ["out"], pads=[1 << 30] * 4)]),
        "would fill the memory: MaxPool",
    ),
    "random": (
        lambda: with_nodes([helper.make_node("RandomNormal", [], ["out"], shape=[1 << 20, 1 << 20])]),
        "would fill the memory: RandomNormal",
    ),
    "endless loop": (lambda: endless([], []), "has a loop that would not end"),
    "endless loop in disguise": (
        lambda: endless([1 << 62], [helper.make_node("Identity", ["goes_on"], ["still"])], "still"),
        "has a loop that would not end",
    ),
    "loops in loops in loops": (
        lambda: with_nodes([loop("n", "", [loop("n", "", [loop("n", "", [], "goes_on")], "goes_on")], "goes_on")]),
        "has loops within loops within loops",
    ),
    "rounds multiplied": (
        lambda: with_nodes([constant("n", [2000]), loop("n", "", [loop("n", "", [], "goes_on")], "goes_on")]),
        "has a loop that would not end",
    ),
    "deep graphs": (lambda: nested(20), "nests graphs more than 8 deep"),
    "functions by the billion": (lambda: calling(30, 3), "has more than 50000 operations"),
    "a function that calls itself": (lambda: calling_itself(), "has functions that call themselves"),
    "too many operations": (
        lambda: crowded(guard.MAX_NODES + 1),
        "has more than 50000 operations",
    ),
    "no network": (lambda: of(helper.make_graph([], "g", [], [])), "holds no network"),
}


def calling_itself() -> ModelProto:
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    node = helper.make_node("again", ["x"], ["y"], domain="mine")
    function = helper.make_function("mine", "again", ["x"], ["y"], [node], opset)
    return of(with_nodes([helper.make_node("again", ["images"], ["out"], domain="mine")]).graph, [function])


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_model_is_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    make, sentence = HOSTILE[kind]
    path = save(make(), tmp_path / "it.onnx")
    with pytest.raises(ModelError) as refusal:
        find(str(path))
    told = str(refusal.value)
    assert told.startswith(f"{path} is refused: it ")
    assert sentence in told
    assert "\n" not in told
    assert len(told) < 400


@pytest.mark.parametrize(
    "harmless",
    [
        lambda: endless([100], []),
        lambda: endless([1 << 62], [helper.make_node("Less", ["a", "b"], ["c"])], "c"),
        lambda: nested(3),
        lambda: calling(3, 2),
        lambda: with_nodes([identity()], [raw("empty", np.zeros((0, 4), np.float32))]),
        lambda: with_nodes([identity()], [helper.make_tensor("typed", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])]),
        lambda: with_nodes([helper.make_node("QLinearConv", ["images"], ["out"], domain="com.microsoft")]),
    ],
)
def test_what_exporters_write_passes(harmless: Callable[[], ModelProto]) -> None:
    seen(harmless())


def test_work_is_bounded_whatever_the_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_FIELDS", 500)
    watch = guard._Watch(Budget(500))
    content = crowded(1000).SerializeToString()
    with pytest.raises(TooMuchWorkError):
        watch.model(memoryview(content))
    assert watch.budget.fields_left == -1
    with pytest.raises(ModelError, match="has more than 500 parts"):
        survey(content, "it.onnx")


def test_a_large_tensor_costs_no_more_than_a_small_one() -> None:
    small, large = (seen(with_nodes([identity()], [raw("w", np.zeros(n, np.uint8))])) for n in (10, 10_000_000))
    assert small.fields_read == large.fields_read


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (pickle.dumps({"model": list(range(100_000))}), "but a Python pickle"),
        (bytes(1_000_000), "but zeros"),
    ],
)
def test_of_what_is_no_model_only_the_beginning_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, sentence: str
) -> None:
    looked_at: list[bytes] = []
    check_head = files._check_head

    def watched(path: Path, head: bytes) -> None:
        looked_at.append(head)
        check_head(path, head)

    monkeypatch.setattr(files, "_check_head", watched)
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=sentence):
        find(str(path))
    assert [len(head) for head in looked_at] == [512]


def test_a_renamed_pytorch_file_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "yolov8n.onnx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("yolov8n/data.pkl", pickle.dumps(print))
    with pytest.raises(ModelError, match=r"a zip archive, such as PyTorch's \.pt"):
        find(str(path))


def test_a_gigabyte_of_zeros_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "zeros.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ModelError, match="1073741824 bytes: too large"):
        find(str(path))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="there is no model"):
        find(str(tmp_path / "model.onnx"))
    with pytest.raises(ModelError, match="is no file"):
        files.read(tmp_path / "model.onnx")


REAL = detector().SerializeToString()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_damaged_model_is_read_or_refused_but_never_more(data: st.DataObject) -> None:
    """Bytes changed, cut out and put in: the answer is a survey or our own error, within the budget."""
    content = bytearray(REAL)
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[place] = data.draw(st.integers(0, 255))
        else:
            content[place : place + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    try:
        found = survey(bytes(content), "it.onnx")
    except ModelError as exc:
        assert "it.onnx is refused" in str(exc)
    else:
        assert found.fields_read <= MAX_FIELDS


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.integers(0, 399), from_end=st.booleans(), change=st.binary(max_size=5), cut=st.integers(0, 5))
def test_a_damaged_model_that_passes_is_run_or_refused(place: int, from_end: bool, change: bytes, cut: int) -> None:
    """Structure lies at the beginning and the end of the file; what gets by the guard must not harm the process."""
    begin = len(REAL) - 1 - place if from_end else place
    content = REAL[:begin] + change + REAL[begin + cut :]
    try:
        survey(content, "it.onnx")
        open_unadmitted("it.onnx", content, None).warm_up()
    except ModelError as exc:
        assert "\n" not in str(exc)


def test_text_that_is_none_is_refused() -> None:
    content = REAL.replace(b"bicycle", b"bicy\xf5le")
    assert content != REAL
    with pytest.raises(ModelError, match="is refused: it is damaged"):
        survey(content, "it.onnx")


@given(st.binary(max_size=400))
def test_any_bytes_are_fields_or_malformed(content: bytes) -> None:
    budget = Budget(1000)
    try:
        for _, value in fields(memoryview(content), budget):
            assert isinstance(value, int) or len(value) <= len(content)
    except MalformedError:
        pass
    assert budget.fields_left >= 1000 - len(content)


OUTSIDE = ["../weights.bin", "/etc/passwd", "sub/weights.bin", "..", "", "a\\b", "file:weights.bin", "w\0.bin"]


@pytest.mark.parametrize("location", OUTSIDE)
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(10_000))
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "weights.bin").write_bytes(bytes(10_000))
    path = save(external(detector(), "weights", location=location), tmp_path / "in" / "it.onnx")
    with pytest.raises(ModelError, match=r"weights are to be read from .* not beside it"):
        find(str(path))


def test_weights_behind_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(6 * 3 * 8 * 8 * 4))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "weights.bin").symlink_to(tmp_path / "secret")
    path = save(external(detector(), "weights", location="weights.bin"), tmp_path / "in" / "it.onnx")
    with pytest.raises(ModelError, match="must lie beside it as a plain file"):
        find(str(path))


@pytest.mark.parametrize(
    "place",
    [{"offset": "1"}, {"length": "7"}, {"offset": "-1"}, {"offset": "9" * 30}, {"offset": "x"}, {"length": "²"}],
)
def test_weights_that_are_not_where_the_model_says_are_refused(tmp_path: Path, place: dict[str, str]) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(6 * 3 * 8 * 8 * 4))
    path = save(external(detector(), "weights", location="w.bin", **place), tmp_path / "it.onnx")
    with pytest.raises(ModelError, match=r"are not in 'w\.bin' as it says"):
        find(str(path))


def test_too_much_beside_a_model_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(files.MAX_BYTES)
    path = save(external(detector(), "weights", location="w.bin"), tmp_path / "it.onnx")
    with pytest.raises(ModelError, match="far too large"):
        find(str(path))
