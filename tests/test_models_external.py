"""Weights in files beside the model, as torch's newer exporter writes them: one model all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from models.catalogue import ModelFile, content_of, find
from models.session import open_session
from models.shelf import store
from models.shelf.adding import add
from stream.errors import ModelError
from tests.model_files import detector, raw, save, with_nodes


@pytest.fixture
def spread(tmp_path: Path) -> Path:
    """A detector whose weights onnx itself has put into a second file."""
    path = tmp_path / "spread.onnx"
    onnx.save_model(
        detector(),
        path,
        save_as_external_data=True,
        location="spread.onnx.data",
        size_threshold=0,
        convert_attribute=True,
    )
    assert (tmp_path / "spread.onnx.data").stat().st_size > 4000
    return path


def answers(model: ModelFile) -> list[np.ndarray]:
    session = open_session(model, device="cpu", threads=1, shape=None)
    return session.run(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))


def test_it_answers_as_the_same_model_in_one_file(spread: Path, tmp_path: Path) -> None:
    whole = find(str(save(detector(), tmp_path / "whole.onnx")))
    np.testing.assert_array_equal(answers(find(str(spread)))[0], answers(whole)[0])


def test_what_is_loaded_is_a_whole_model(spread: Path) -> None:
    model = onnx.load_from_string(content_of(find(str(spread))))
    onnx.checker.check_model(model, full_check=True)
    assert [tensor.data_location for tensor in model.graph.initializer] == [0] * 5
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    expected = next(tensor for tensor in detector().graph.initializer if tensor.name == "weights")
    assert weights.raw_data == expected.raw_data


def test_weights_within_nodes_and_branches_are_brought_in(tmp_path: Path) -> None:
    path = tmp_path / "branches.onnx"
    model = branching()
    onnx.save_model(
        model, path, save_as_external_data=True, location="b.data", size_threshold=0, convert_attribute=True
    )
    assert "b.data" in find(str(path)).external
    assert onnx.load_from_string(content_of(find(str(path)))) == branching()


def branching() -> ModelProto:
    ends = [helper.make_empty_tensor_value_info("end")]
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["end"], value=raw("inner", np.arange(9.0)))], "branch", [], ends
    )
    choice = helper.make_node("If", ["yes"], ["out"], then_branch=branch, else_branch=branch)
    return with_nodes([choice], [raw("yes", np.array(True))])


def test_a_changed_byte_in_the_weights_is_another_model(spread: Path) -> None:
    found = find(str(spread))
    data = spread.with_name("spread.onnx.data")
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content)
    with pytest.raises(ModelError, match="changed while it was being loaded"):
        content_of(found)
    assert find(str(spread)).sha256 != found.sha256


def test_on_the_shelf_it_is_one_file(spread: Path) -> None:
    found = find(str(spread))
    add(spread, "spread")
    shelved = find("spread")
    assert shelved.sha256 == found.sha256
    assert sorted(path.name for path in store.take("spread").folder.iterdir()) == ["manifest.json", "model.onnx"]
    np.testing.assert_array_equal(answers(shelved)[0], answers(found)[0])


def test_missing_weights_are_named(spread: Path) -> None:
    spread.with_name("spread.onnx.data").unlink()
    with pytest.raises(ModelError, match=r"keeps its weights in 'spread\.onnx\.data', which must lie beside it"):
        find(str(spread))
