"""``videodisco models``, and ``run`` with whom the configuration trusts."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from models.catalogue import INT8, bundled_names, find
from models.shelf import store, trial
from stream.home import home
from stream.locks import FileLock
from stream.telemetry import records
from stream.telemetry.journal import open_spool
from tests.commands import Ended, in_process, summary, videodisco
from tests.model_files import detector, save
from tests.service_runs import Serving, encoded, frame_of

pytest.importorskip("model_signing", reason="it comes with the signing extra")
pytestmark = pytest.mark.slow

CONFIG = "trust:\n  require_signature: true\n  trusted_keys: [{key}]\noutput: {{name: checked}}\n"


Command = Callable[..., Ended]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Any command in this process: starting one takes a second each time, and ``run`` below starts enough of them."""
    monkeypatch.chdir(tmp_path)
    return partial(in_process, capsys)


@pytest.fixture
def models(here: Command) -> Command:
    return partial(here, "models")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = save(detector(), tmp_path / "mine.onnx")
    trial.keep(find(str(path)).sha256, trial.Measured(64, 64, 1.5, 9))
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key as the documentation says to make one, and its public half beside it."""
    private = tmp_path / "ops.pem"
    for arguments in (
        ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(private)],
        ["ec", "-in", str(private), "-pubout", "-out", str(tmp_path / "ops.pub")],
    ):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    return private


def trusting_run(clip: Path, folder: Path, model: str) -> list[str | Path]:
    """The words of a run by a configuration that trusts one key."""
    (folder / "trust.yaml").write_text(CONFIG.format(key=folder / "ops.pub"))
    options = ("--config", "trust.yaml", "--model", model, "--end", "0.4", "--no-mlflow", "--quiet")
    return ["run", clip, *options]


def test_from_adding_to_removing(models: Command, mine: Path, tmp_path: Path) -> None:
    added = models("add", mine, "--name", "mine")
    assert (added.code, added.err) == (0, "")
    assert "detect, family yolo" in added.out
    assert added.out.splitlines()[-1] == "kept: videodisco run --model mine SOURCE"
    listed = json.loads(models("list", "--json").out)
    assert [model["name"] for model in listed["models"]] == [*bundled_names(), "mine"]
    assert "yolox-nano" in [entry["name"] for entry in listed["pullable"]]
    shown = json.loads(models("show", "mine", "--json").out)
    assert (shown["classes"], shown["signature"]) == (["person", "bicycle"], "none")
    assert shown["speed"].startswith("1.5 ms a picture of 64x64")
    assert models("remove", "mine").out == "mine is removed\n"
    gone = models("show", "mine")
    assert (gone.code, gone.sentence[:29]) == (4, "there is no model 'mine': bun")


def test_a_run_takes_a_model_from_the_shelf_by_name(
    models: Command, mine: Path, bikes_clip: Path, tmp_path: Path
) -> None:
    models("add", mine, "--name", "mine")
    done = videodisco("run", bikes_clip, "--model", "mine", "--end", "0.4", "--no-mlflow", "--quiet", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    model = summary(tmp_path / "runs" / "run")["model"]
    assert (model["name"], model["sha256"], model["signer"]) == ("mine", find("mine").sha256, "")


@pytest.mark.parametrize("model", ["auto", "mine"])
def test_a_run_refuses_an_unsigned_model_and_takes_it_once_signed(
    here: Command, models: Command, model: str, mine: Path, key: Path, bikes_clip: Path, tmp_path: Path
) -> None:
    models("add", mine, "--name", "mine")
    words = trusting_run(bikes_clip, tmp_path, model)
    refused = here(*words)
    assert refused.code == 4
    assert refused.sentence.endswith(
        "is refused: a signature by a trusted key (ops.pub) is required and it has none; see videodisco models sign"
    )
    assert not (tmp_path / "runs").exists()
    signed = models("sign", model, "--key", key)
    assert (signed.code, signed.err) == (0, "")
    assert videodisco(*words, cwd=tmp_path).code == 0
    assert summary(tmp_path / "runs" / "checked")["model"]["signer"].startswith("ops.pub sha256:")


def test_who_signed_what_was_loaded_is_in_the_run_in_what_mlflow_is_told_and_in_the_api(
    models: Command, mine: Path, key: Path, bikes_clip: Path, tmp_path: Path
) -> None:
    models("add", mine, "--name", "mine")
    models("sign", "mine", "--key", key)
    (tmp_path / "trust.yaml").write_text(CONFIG.format(key=tmp_path / "ops.pub") + "mlflow: {wait: true, flush_s: 0}\n")
    options = ("--config", "trust.yaml", "--model", "mine", "--end", "0.4", "--quiet")
    with FileLock(home() / "mlflow" / "courier.lock") as lock:
        assert lock.try_acquire()  # nobody delivers
        done = videodisco("run", bikes_clip, *options, cwd=tmp_path)
    assert (done.code, "MLflow records of this run wait in" in done.sentence) == (0, True)
    loaded = summary(tmp_path / "runs" / "checked")["model"]
    assert loaded["signer"].startswith("ops.pub sha256:")
    told = records.decode(open_spool(home(), max_bytes=1_000_000).peek(1)[0].payload)
    assert {name: told["params"][f"model_{name}"] for name in loaded} == {**loaded, "version": ""}
    trust = {"require_signature": True, "trusted_keys": [str(tmp_path / "ops.pub")]}
    with Serving(tmp_path / "served", options={"trust": trust, "detector": {"model": "mine"}}) as service:
        current = service.ask("GET", "/model").json
        assert current["model"] == loaded
        assert current["slots_reason"].startswith("for throughput: several cameras or requests, ")
        assert service.post_picture(encoded(frame_of(bikes_clip))).json["model"] == loaded


def test_a_tampered_byte_is_refused_by_run_and_verify(
    here: Command, models: Command, mine: Path, key: Path, bikes_clip: Path, tmp_path: Path
) -> None:
    models("add", mine, "--name", "mine")
    models("sign", "mine", "--key", key)
    whole = models("verify", "--key", tmp_path / "ops.pub", "mine")
    assert (whole.code, whole.out.split(", ")[0]) == (0, "mine  intact")
    path = store.take("mine").path
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    refused = here(*trusting_run(bikes_clip, tmp_path, "mine"))
    assert (refused.code, "model.onnx was changed: its sha256 is" in refused.sentence) == (4, True)
    checked = models("verify")
    assert checked.code == 4
    lines = checked.out.splitlines()
    assert {line.split()[1] for line in lines[:-1]} == {"intact,"}
    assert "was changed" in lines[-1]


def test_a_wrong_key_is_refused(
    here: Command, models: Command, mine: Path, key: Path, bikes_clip: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(other)],
        check=True,
        capture_output=True,
    )
    models("sign", mine, "--key", other)
    refused = here(*trusting_run(bikes_clip, tmp_path, "./mine.onnx"))
    assert refused.code == 4
    assert refused.sentence.endswith("it is signed, but not by a trusted key (ops.pub)")
    assert models("verify", mine, "--key", tmp_path / "ops.pub").code == 4


def test_what_this_machine_requires_no_command_gets_around(
    here: Command, key: Path, bikes_clip: Path, tmp_path: Path
) -> None:
    shutil.copy(tmp_path / "ops.pub", home())
    (home() / "trust.yaml").write_text("require_signature: true\ntrusted_keys: [ops.pub]\n")
    for command in (("run", bikes_clip, "--no-mlflow"), ("bench", bikes_clip)):
        refused = here(*command)
        assert (refused.code, "is required and it has none" in refused.sentence) == (4, True)


def test_a_hostile_file_is_refused_in_one_sentence(models: Command, tmp_path: Path, bikes_clip: Path) -> None:
    (tmp_path / "evil.onnx").write_bytes(b"\x80\x04\x95")
    for refused in (
        models("add", "evil.onnx", "--name", "evil"),
        models("show", "./evil.onnx"),
        videodisco("run", bikes_clip, "--model", "evil.onnx", "--no-mlflow", cwd=tmp_path),
    ):
        assert refused.code == 4
        assert refused.sentence == "evil.onnx is not an ONNX file but a Python pickle: export the model to ONNX first"


def test_an_agpl_model_is_left_to_its_user(models: Command, tmp_path: Path) -> None:
    told = models("pull", "yolov8n")
    assert (told.code, told.err) == (2, "")
    assert "is under the AGPL-3.0, code and weights" in told.out
    assert "  videodisco models export yolov8n.pt --python ultralytics/bin/python" in told.out


def test_an_unknown_model_to_pull_lists_the_known_ones(models: Command, tmp_path: Path) -> None:
    told = models("pull", "nothing")
    assert (told.code, "there are yolox-nano, " in told.sentence) == (2, True)


def test_the_speed_here_is_measured_on_request(models: Command, tmp_path: Path) -> None:
    shown = models("show", INT8, "--measure")
    assert (shown.code, "ms a picture of 416x416 on one thread of this machine" in shown.out) == (0, True)


def test_a_locked_key_with_nobody_to_ask(
    models: Command, mine: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(
        ["openssl", "ec", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(tmp_path / "locked.pem")],
        check=True,
        capture_output=True,
    )
    told = models("sign", mine, "--key", "locked.pem")
    assert (told.code, "set VIDEODISCO_KEY_PASSWORD" in told.sentence) == (2, True)
    monkeypatch.setenv("VIDEODISCO_KEY_PASSWORD", "secret")
    assert models("sign", mine, "--key", "locked.pem").code == 0
