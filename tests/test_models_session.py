"""Sessions over small models made here: inputs of every kind, concurrency, and refusals."""

from __future__ import annotations

import dataclasses
import logging
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, save

from models import session as sessions
from models.catalogue import INT8, find
from models.providers import COREML, CPU, CUDA, OPENVINO, choose, options_of
from models.session import Session, open_session
from stream.errors import ModelError

FLOAT32, FLOAT16, UINT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8
Dimensions = list[int | str]


def echo(
    dtype: int = FLOAT32, shape: Dimensions | None = None, inputs: int = 1, metadata: dict[str, str] | None = None
) -> ModelProto:
    """A model that gives back what it is fed, so that a test sees what a network would."""
    dimensions: Dimensions = [1, 3, "height", "width"] if shape is None else shape
    entries = [helper.make_tensor_value_info(f"images{n or ''}", dtype, dimensions) for n in range(inputs)]
    node = helper.make_node("Identity", ["images"], ["output0"], name="echo")
    graph = helper.make_graph([node], "echo", entries, [helper.make_tensor_value_info("output0", dtype, dimensions)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    helper.set_model_props(model, metadata or {})
    return model


def opened(folder: Path, model: ModelProto, shape: tuple[int, int] | None = None) -> Session:
    path = folder / "mine.onnx"
    save(model, path)
    return open_session(find(str(path)), device="cpu", threads=1, shape=shape)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("dtype", "tolerance"), [(FLOAT32, 1e-6), (FLOAT16, 1e-3)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_float_inputs_see_levels_from_zero_to_one(
    tmp_path: Path, dtype: int, tolerance: float, channels_last: bool
) -> None:
    shape: Dimensions = [1, 32, 64, 3] if channels_last else [1, 3, 32, 64]
    pixels = noise(32, 64)
    (seen,) = opened(tmp_path, echo(dtype, shape)).run(pixels)
    expected = (pixels / 255)[None] if channels_last else (pixels / 255).transpose(2, 0, 1)[None]
    assert seen.shape == expected.shape
    np.testing.assert_allclose(seen, expected, atol=tolerance)


def test_mean_and_std_of_the_metadata_are_used(tmp_path: Path) -> None:
    session = opened(tmp_path, echo(metadata={"mean": "[10, 20, 30]", "std": "[2, 4, 8]", "colour": "bgr"}), (32, 32))
    pixels = noise(32, 32)
    (seen,) = session.run(pixels)
    expected = ((pixels - np.array([10.0, 20, 30])) / np.array([2.0, 4, 8])).transpose(2, 0, 1)
    np.testing.assert_allclose(seen[0], expected, rtol=1e-5, atol=1e-5)
    assert not session.spec.input.rgb


@pytest.mark.parametrize("channels_last", [False, True])
def test_byte_inputs_see_the_pixels(tmp_path: Path, channels_last: bool) -> None:
    shape: Dimensions = [1, "h", "w", 3] if channels_last else [1, 3, "h", "w"]
    pixels = noise(32, 64)
    (seen,) = opened(tmp_path, echo(UINT8, shape), (32, 64)).run(pixels)
    np.testing.assert_array_equal(seen[0], pixels if channels_last else pixels.transpose(2, 0, 1))


def test_a_view_that_is_not_contiguous_is_read_rightly(tmp_path: Path) -> None:
    pixels = noise(64, 64)[::2, ::-1]
    (seen,) = opened(tmp_path, echo(), (32, 64)).run(pixels)
    np.testing.assert_allclose(seen[0], (pixels / 255).transpose(2, 0, 1), atol=1e-6)


def test_free_dimensions_take_the_shape_and_a_batch_of_one(tmp_path: Path) -> None:
    session = opened(tmp_path, echo(shape=["batch", 3, "height", "width"]), (64, 96))
    assert (session.spec.input.height, session.spec.input.width) == (64, 96)
    assert session.spec.outputs[0].shape == (1, 3, 64, 96)
    session.warm_up()


def test_a_fixed_size_stays(tmp_path: Path) -> None:
    session = opened(tmp_path, echo(shape=[1, 3, 32, 64]), (96, 96))
    assert (session.spec.input.height, session.spec.input.width) == (32, 64)


def test_an_open_size_takes_every_picture(tmp_path: Path) -> None:
    session = opened(tmp_path, echo())
    assert session.spec.input.height is None
    for size in (32, 64):
        assert session.run(noise(size, 32))[0].shape == (1, 3, size, 32)
    session.warm_up()


def test_metadata_of_ultralytics_is_read(tmp_path: Path) -> None:
    props = {"names": "{0: 'cat', 1: 'dog'}", "imgsz": "[480, 640]", "stride": "16", "task": "pose"}
    spec = opened(tmp_path, echo(metadata=props)).spec
    assert (spec.names, spec.imgsz, spec.stride_px, spec.task) == (("cat", "dog"), (480, 640), 16, "pose")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("names", "__import__('os').system('true')"),
        ("names", "{1: 'cat'}"),
        ("names", "[1, 2]"),
        ("names", "{0: 'cat'"),
        ("names", "(" * 5000),
        ("names", "['x'," + " " * 300_000 + "]"),
        ("names", repr(["x"] * 10_001)),
        ("imgsz", "[0, 640]"),
        ("imgsz", "True"),
        ("stride", "'32'"),
        ("mean", "[1, 2]"),
        ("std", "[1, 0, 1]"),
        ("mean", "[1e999, 0, 0]"),
    ],
)
def test_hostile_metadata_is_refused(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ModelError, match=r"^mine "):
        opened(tmp_path, echo(metadata={key: value}))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (echo(inputs=2), "has 2 inputs"),
        (echo(shape=[1, 3, 64]), r"images \[1 x 3 x 64\]"),
        (echo(shape=[1, 4, 64, 64]), r"images \[1 x 4 x 64 x 64\]"),
        (echo(shape=[65, 3, 64, 64]), r"images \[65 x 3 x 64 x 64\]"),
        (echo(TensorProto.INT64), r"tensor\(int64\)"),
    ],
)
def test_what_takes_no_picture_is_refused_with_the_shape_seen(tmp_path: Path, model: ModelProto, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        opened(tmp_path, model)


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (np.zeros((32, 64), np.uint8), r"got uint8 \(32, 64\)"),
        (np.zeros((32, 64, 4), np.uint8), r"got uint8 \(32, 64, 4\)"),
        (np.zeros((32, 64, 3), np.float32), "got float32"),
        (np.zeros((64, 32, 3), np.uint8), "takes pictures of 64x32, got 32x64"),
    ],
)
def test_pictures_of_another_kind_are_refused(tmp_path: Path, pixels: NDArray[Any], sentence: str) -> None:
    session = opened(tmp_path, echo(), (32, 64))
    with pytest.raises(ModelError, match=sentence):
        session.run(pixels)


def test_protobuf_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"\x08\x0aand then nothing of the kind")
    with pytest.raises(ModelError, match=r"mine\.onnx is refused: it is damaged, or no ONNX model at all"):
        open_session(find(str(path)), threads=1, shape=None)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    content = find(INT8).path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="is refused: it is damaged"):
        open_session(find(str(path)), threads=1, shape=None)


def test_a_file_replaced_after_it_was_found_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    save(echo(), path)
    model = find(str(path))
    save(echo(UINT8), path)
    with pytest.raises(ModelError, match="changed while"):
        open_session(model, threads=1, shape=None)
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        open_session(model, threads=1, shape=None)


def test_onnxruntime_says_nothing_on_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError):
        opened(tmp_path, echo(shape=[1, 3, 64]))
    test_a_truncated_model_is_refused(tmp_path)
    session = opened(tmp_path, echo())
    session._outputs = ["no such output"]
    with pytest.raises((ModelError, ValueError)):
        session.run(noise(32, 32))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [64, 128])
def test_threads_sharing_a_session_do_not_mix_their_pictures(tmp_path: Path, size: int) -> None:
    session = opened(tmp_path, echo(), (size, size))
    pictures = [noise(size, size, seed) for seed in range(64)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda picture: session.run(picture)[0].copy(), pictures))
    for picture, seen in zip(pictures, answers, strict=True):
        np.testing.assert_allclose(seen[0], (picture / 255).transpose(2, 0, 1), atol=1e-6)


def test_auto_takes_nothing_on_trust_but_cuda() -> None:
    assert choose("auto", [CPU, COREML, OPENVINO]) == CPU
    assert choose("auto", [CPU, "AzureExecutionProvider"]) == CPU
    assert choose("auto", [CPU, CUDA, OPENVINO]) == CUDA
    assert choose("cpu", [CPU, CUDA]) == CPU


def test_a_device_that_is_not_here_is_refused_with_those_that_are() -> None:
    with pytest.raises(ModelError, match="'cuda' is not available here; here are cpu"):
        choose("cuda", [CPU, "AzureExecutionProvider"])
    with pytest.raises(ModelError, match=re.escape("pip install 'videodisco[openvino]'")):
        choose("openvino", [CPU])
    with pytest.raises(ModelError, match="no device 'tpu': choose auto, cuda, coreml, openvino, cpu"):
        choose("tpu", [CPU])


def test_every_provider_has_the_cpu_behind_it_and_only_text_as_options(tmp_path: Path) -> None:
    for provider in (CUDA, COREML, CPU):
        ordered = options_of(provider, tmp_path)
        assert [ordered[0][0], ordered[-1][0]] == [provider, CPU]
        assert all(isinstance(value, str) for _, options in ordered for value in options.values())


def test_another_provider_in_use_than_asked_for_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sessions, "choose", lambda device, available: "CUDAExecutionProvider")
    monkeypatch.setattr(sessions, "options_of", lambda *anything: [(CPU, {})])
    with caplog.at_level(logging.WARNING):
        session = open_session(find(INT8), threads=1, shape=(64, 64))
    assert session.provider == CPU
    assert "CUDAExecutionProvider was asked for but CPUExecutionProvider is in use" in caplog.text


def test_opening_a_session_imports_neither_opencv_nor_onnx() -> None:
    code = (
        "import sys; from models.catalogue import find; from models.session import open_session;"
        "open_session(find('auto'), threads=1, shape=(64, 64)).warm_up();"
        "print(sorted({'cv2', 'onnx', 'av', 'supervision', 'model_signing', 'cryptography'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_model_file_is_a_value() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        find(INT8).name = "other"  # type: ignore[misc]  # that it fails is the point
