"""Finding model files, and refusing what is none, in one sentence each."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest

from models import catalogue
from models.catalogue import FLOAT, INT8, cpu_flags, default_build, find, look_up
from stream.errors import ModelError
from tests.commands import in_process


@pytest.fixture
def copied_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bundled"
    shutil.copytree(catalogue.BUNDLED, folder)
    monkeypatch.setattr(catalogue, "BUNDLED", folder)
    return folder


@pytest.mark.parametrize("name", [FLOAT, INT8])
def test_bundled_models_are_what_their_cards_say(name: str) -> None:
    model = find(name)
    assert model.card is not None
    assert (model.name, model.sha256, model.path.stat().st_size) == (name, model.card["sha256"], model.card["bytes"])
    assert len(model.card["classes"]) == 80


def test_auto_is_the_build_for_this_processor() -> None:
    assert find("auto").name == default_build()[0]


def test_a_path_needs_no_card(tmp_path: Path) -> None:
    mine = tmp_path / "mine.onnx"
    shutil.copy(find(FLOAT).path, mine)
    model = find(str(mine))
    assert (model.name, model.path, model.sha256, model.card) == ("mine", mine, find(FLOAT).sha256, None)


def test_one_changed_byte_in_a_bundled_file_is_refused(copied_bundle: Path) -> None:
    path = copied_bundle / f"{INT8}.onnx"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is not the bundled file: its sha256 is"):
        find(INT8)


@pytest.mark.parametrize("card", ["", "[]", "{}", json.dumps({"file": 1, "sha256": ""})])
def test_a_broken_card_is_refused(copied_bundle: Path, card: str) -> None:
    (copied_bundle / f"{INT8}.json").write_text(card)
    with pytest.raises(ModelError, match=r"the card .* cannot be read"):
        find(INT8)


def test_a_bundled_file_gone_missing_is_refused(copied_bundle: Path) -> None:
    (copied_bundle / f"{INT8}.onnx").unlink()
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        find(INT8)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"bundled are auto, .*nanodet-g-416, nanodet-g-416-int8; a path"):
        find("nothing")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder, not a model file"):
        find(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"classes: 80\n", "but a text file"),
        (pickle.dumps({"model": 1}), "but a Python pickle"),
        (b"PK\x03\x04rest", "but a zip archive"),
        (b"\x1c\x00\x00\x00TFL3", "but a TensorFlow Lite model"),
        (b"\xff\xd8\xff\xe0", "but something else"),
    ],
)
def test_what_is_no_onnx_file_is_called_by_its_name(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "renamed.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=sentence):
        find(str(path))


def test_a_file_too_large_to_be_a_detector_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "film.onnx"
    with path.open("wb") as file:
        file.truncate(catalogue.MAX_BYTES + 1)
    with pytest.raises(ModelError, match="too large"):
        find(str(path))


@pytest.mark.parametrize("flag", ["avx512_vnni", "avx_vnni", "asimddp"])
def test_int8_where_the_processor_multiplies_bytes(flag: str) -> None:
    name, reason = default_build({"sse2", flag})
    assert name == INT8
    assert "8-bit integers" in reason


def test_float_elsewhere() -> None:
    assert default_build({"sse2", "avx2"})[0] == FLOAT


@pytest.mark.parametrize("line", ["flags\t\t: fpu avx512_vnni sse2", "Features\t: fp asimd asimddp"])
def test_flags_are_read_from_both_kinds_of_listing(tmp_path: Path, line: str) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text(f"processor\t: 0\nmodel name\t: some\n{line}\n\nprocessor\t: 1\n")
    assert default_build(cpu_flags(listing))[0] == INT8


def test_no_listing_means_no_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert cpu_flags(tmp_path / "none") == frozenset()


def test_a_well_known_model_that_is_not_here_says_how_it_comes_here() -> None:
    with pytest.raises(ModelError, match=r"not here yet: videodisco models pull yolox-nano fetches it"):
        look_up("yolox-nano")
    with pytest.raises(ModelError, match=r"AGPL-3\.0.* videodisco models export yolov8n\.pt"):
        look_up("yolov8n")


def test_the_list_tells_what_can_be_pulled_from_what_its_user_exports(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, pullable, own = in_process(capsys, "models", "list").out.split("\n\n")
    assert pullable.startswith("to be had with videodisco models pull NAME:\n")
    nano = next(line for line in pullable.splitlines() if "yolox-nano" in line)
    assert nano.split()[:4] == ["yolox-nano", "Apache-2.0", "3.7", "YOLOX-Nano"]
    assert own.startswith("export it yourself (AGPL-3.0): videodisco models export WEIGHTS.pt\n")
    assert [line.split()[0] for line in own.splitlines()[2:]] == ["yolov8n", "yolo11n", "yolo26n"]
    assert "yolov8n" not in pullable


def test_the_list_as_json_has_licence_size_and_address(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(in_process(capsys, "models", "list", "--json").out)
    nano = next(entry for entry in told["pullable"] if entry["name"] == "yolox-nano")
    assert (nano["licence"], nano["size_bytes"]) == ("Apache-2.0", 3_659_407)
    assert nano["url"].startswith("https://")
    assert [entry["weights"] for entry in told["own_exports"]] == ["yolov8n.pt", "yolo11n.pt", "yolo26n.pt"]
