"""Signed models: by whom, over what, and what is refused when a signature is required."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import catalogue
from models.catalogue import FLOAT, content_of, find
from models.shelf import store, trial
from models.shelf.adding import add
from models.shelf.checking import check_model, sign_model
from models.trust.policy import TrustSettings
from models.trust.signing import WHOLE, SignatureError, check, fingerprint, key_hint, sign
from stream.config import build
from stream.errors import ModelError, UsageError
from stream.home import home
from tests.model_files import detector, save

pytest.importorskip("model_signing", reason="it comes with the signing extra")


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def key_pair(folder: Path, name: str, *options: str) -> tuple[Path, Path]:
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private, *options)
    openssl("pkey", "-in", private, "-pubout", "-out", public, *(["-passin", "pass:secret"] if options else []))
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Key pairs of two people, made as the documentation says."""
    folder = tmp_path_factory.mktemp("keys")
    return {name: key_pair(folder, name) for name in ("ops", "other")}


def nobody() -> str:
    raise AssertionError("an open key needs no password")


def trusting(*public: Path) -> TrustSettings:
    return TrustSettings(require_signature=True, trusted_keys=public)


@pytest.fixture
def shelved(tmp_path: Path) -> str:
    return shelve(tmp_path, "mine")


def shelve(folder: Path, name: str, seed: int = 0) -> str:
    """Put a detector on the shelf without trying it out, which takes a second."""
    path = save(detector(seed), folder / f"{name}.onnx")
    trial.keep(hashlib.sha256(path.read_bytes()).hexdigest(), trial.Measured(64, 64, 1.0, 1))
    add(path, name)
    return name


@pytest.fixture
def loose(tmp_path: Path) -> str:
    return str(save(detector(), tmp_path / "loose.onnx"))


@pytest.fixture(params=["bundled", "shelved", "loose"])
def any_model(request: pytest.FixtureRequest) -> str:
    return FLOAT if request.param == "bundled" else request.getfixturevalue(request.param)


def test_an_unsigned_model_is_refused_where_a_signature_is_required(
    any_model: str, keys: dict[str, tuple[Path, Path]]
) -> None:
    assert find(any_model).signer == ""
    with pytest.raises(ModelError, match=r"is refused: a signature by a trusted key \(ops\.pub\) is required"):
        find(any_model, trusting(keys["ops"][1]))


def test_a_model_signed_by_a_trusted_key_is_admitted_and_says_by_whom(
    any_model: str, keys: dict[str, tuple[Path, Path]]
) -> None:
    private, public = keys["ops"]
    sign_model(any_model, private, nobody)
    model = find(any_model, trusting(public))
    assert model.signer == f"ops.pub sha256:{fingerprint(public)[:16]}"
    assert content_of(model) == Path(model.path).read_bytes()


def test_a_signature_by_another_key_is_not_enough(any_model: str, keys: dict[str, tuple[Path, Path]]) -> None:
    sign_model(any_model, keys["other"][0], nobody)
    with pytest.raises(ModelError, match=r"it is signed, but not by a trusted key \(ops\.pub\)"):
        find(any_model, trusting(keys["ops"][1]))
    assert find(any_model, TrustSettings(trusted_keys=(keys["ops"][1],))).signer == ""


def test_one_of_several_trusted_keys_is_enough(shelved: str, keys: dict[str, tuple[Path, Path]]) -> None:
    sign_model(shelved, keys["other"][0], nobody)
    assert find(shelved, trusting(keys["ops"][1], keys["other"][1])).signer.startswith("other.pub ")


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_tampered_byte_in_a_signed_file_is_refused(loose: str, keys: dict[str, tuple[Path, Path]]) -> None:
    sign_model(loose, keys["ops"][0], nobody)
    flip(Path(loose), 300)
    with pytest.raises(ModelError, match="and it has none"):
        find(loose, trusting(keys["ops"][1]))


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json"])
@pytest.mark.parametrize("place", [40, 500, -30])
def test_a_tampered_byte_on_the_shelf_is_refused_signed_or_not(shelved: str, file: str, place: int) -> None:
    flip(store.take(shelved).folder / file, place)
    with pytest.raises(ModelError, match=r"was changed|is damaged"):
        find(shelved)
    assert not check_model(shelved, ()).holds


def test_a_manifest_made_to_fit_is_refused_once_it_was_signed(shelved: str, keys: dict[str, tuple[Path, Path]]) -> None:
    sign_model(shelved, keys["ops"][0], nobody)
    taken = store.take(shelved)
    forged = taken.manifest.model_copy(update={"licence": "public domain"})
    (taken.folder / "manifest.json").write_bytes(forged.to_bytes())
    assert find(shelved).signer == ""
    with pytest.raises(ModelError, match="a signature is required, and the signature does not fit"):
        find(shelved, trusting(keys["ops"][1]))


def test_a_signature_moved_to_another_model_does_not_hold(
    tmp_path: Path, shelved: str, keys: dict[str, tuple[Path, Path]]
) -> None:
    sign_model(shelved, keys["ops"][0], nobody)
    shelve(tmp_path, "evil", seed=2)
    shutil.copy(store.take(shelved).folder / "model.sig", store.take("evil").folder / "model.sig")
    with pytest.raises(ModelError, match="a signature is required, and the signature does not fit"):
        find("evil", trusting(keys["ops"][1]))


def test_a_signature_beside_a_file_counts_and_comes_along_to_the_shelf(
    loose: str, keys: dict[str, tuple[Path, Path]]
) -> None:
    private, public = keys["ops"]
    Path(f"{loose}.sig").write_bytes(sign({WHOLE: Path(loose).read_bytes()}, private))
    assert find(loose, trusting(public)).signer.startswith("ops.pub ")
    add(Path(loose), "kept")
    assert find("kept", trusting(public)).signer.startswith("ops.pub ")


SMALL = {"model.onnx": b"model", "manifest.json": b"{}"}


@pytest.fixture(scope="module")
def signature(keys: dict[str, tuple[Path, Path]]) -> bytes:
    return sign(SMALL, keys["ops"][0])


def test_a_signature_is_over_exactly_the_files(keys: dict[str, tuple[Path, Path]], signature: bytes) -> None:
    public = keys["ops"][1]
    check(SMALL, signature, public)
    for files in (
        {**SMALL, "more": b""},
        {"model.onnx": b"model"},
        {**SMALL, "manifest.json": b"[]"},
        {WHOLE: b"model"},
    ):
        with pytest.raises(SignatureError):
            check(files, signature, public)


def test_a_statement_that_passes_over_the_model_does_not_hold(
    tmp_path: Path, keys: dict[str, tuple[Path, Path]]
) -> None:
    """Signed by a trusted key, but over a folder from which the model was left out: any model would pass."""
    from model_signing import hashing, signing

    (tmp_path / "manifest.json").write_bytes(SMALL["manifest.json"])
    (tmp_path / "model.onnx").write_bytes(b"whatever")
    config: Any = signing.Config
    partial: Any = hashing.Config
    signer = config().use_elliptic_key_signer(private_key=keys["ops"][0])
    signer.set_hashing_config(partial().set_ignored_paths(paths=["model.onnx"]))
    signer.sign(tmp_path, tmp_path.parent / "partial.sig")
    with pytest.raises(SignatureError, match="is not over all of the files"):
        check(SMALL, (tmp_path.parent / "partial.sig").read_bytes(), keys["ops"][1])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_signature_never_holds_and_never_crashes(
    data: st.DataObject, keys: dict[str, tuple[Path, Path]], signature: bytes
) -> None:
    place = data.draw(st.integers(0, len(signature) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != signature[place]))
    changed = signature[:place] + bytes([byte]) + signature[place + 1 :]
    try:
        check(SMALL, changed, keys["ops"][1])
    except SignatureError:
        return
    # Nothing but the form may have changed: the words that were signed and the signature over them are the same.
    assert _signed_part(changed) == _signed_part(signature)


def _signed_part(signature: bytes) -> tuple[bytes, bytes]:
    envelope = json.loads(signature)["dsseEnvelope"]
    return b64decode(envelope["payload"]), b64decode(envelope["signatures"][0]["sig"])


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"dsseEnvelope": 1}', b"[" * 5000, b"null"])
def test_what_is_no_signature_does_not_hold(content: bytes, keys: dict[str, tuple[Path, Path]]) -> None:
    with pytest.raises(SignatureError):
        check(SMALL, content, keys["ops"][1])
    assert key_hint(content) == ""


def test_the_words_of_a_statement_cannot_be_replaced(keys: dict[str, tuple[Path, Path]], signature: bytes) -> None:
    bundle = json.loads(signature)
    other = json.loads(sign({**SMALL, "model.onnx": b"evil"}, keys["other"][0]))
    bundle["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"]
    with pytest.raises(SignatureError, match="is not by this key, or was changed"):
        check({**SMALL, "model.onnx": b"evil"}, json.dumps(bundle).encode(), keys["ops"][1])


def test_the_standard_command_verifies_our_signatures(
    tmp_path: Path, shelved: str, keys: dict[str, tuple[Path, Path]]
) -> None:
    """OpenSSF's own tool on a folder of the shelf."""
    from model_signing import verifying

    path = sign_model(shelved, keys["ops"][0], nobody)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("model.onnx", "manifest.json"):
        shutil.copy(path.parent / name, copy)
    config: Any = verifying.Config
    config().use_elliptic_key_verifier(public_key=keys["ops"][1]).verify(copy, path)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: openssl("genrsa", "-out", folder / "k.pem", "2048"), "it is no private key in PEM form"),
        (lambda folder: (folder / "k.pem").write_text("hello"), "it is no private key in PEM form"),
        (lambda folder: None, "the key .* cannot be read: No such file"),
    ],
)
def test_other_keys_cannot_sign(tmp_path: Path, make: Callable[[Path], object], sentence: str) -> None:
    make(tmp_path)
    with pytest.raises(ModelError, match=sentence):
        sign(SMALL, tmp_path / "k.pem")


def test_a_locked_key_wants_its_password(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "locked", "-aes-256-cbc", "-pass", "pass:secret")
    check(SMALL, sign(SMALL, private, lambda: "secret"), public)
    with pytest.raises(ModelError, match="its password is wrong"):
        sign(SMALL, private, lambda: "wrong")


def test_a_private_key_is_not_to_be_trusted(keys: dict[str, tuple[Path, Path]]) -> None:
    with pytest.raises(ModelError, match="is no public key in PEM form: it is a private key"):
        find(FLOAT, trusting(keys["ops"][0]))


def test_a_trusted_key_that_is_gone_refuses(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the key .*gone\.pub cannot be read"):
        find(FLOAT, trusting(tmp_path / "gone.pub"))


def test_requiring_without_trusting_anybody_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="require_signature needs trusted_keys"):
        build(TrustSettings, {"require_signature": True}, origin="it")


def test_this_machine_may_require_what_a_run_does_not(keys: dict[str, tuple[Path, Path]]) -> None:
    shutil.copy(keys["ops"][1], home() / "ops.pub")
    (home() / "trust.yaml").write_text("require_signature: true\ntrusted_keys: [ops.pub]\n")
    with pytest.raises(ModelError, match="is required and it has none"):
        find(FLOAT)
    sign_model(FLOAT, keys["other"][0], nobody)
    with pytest.raises(ModelError, match="not by a trusted key"):
        find(FLOAT, trusting(keys["other"][1]))
    sign_model(FLOAT, keys["ops"][0], nobody)
    assert find(FLOAT).signer.startswith("ops.pub ")
    assert find(FLOAT, trusting(keys["other"][1])).signer


@pytest.mark.parametrize("policy", ["require_signature: [", "require: true", "trusted_keys: 5"])
def test_a_broken_policy_of_this_machine_stops_everything(policy: str) -> None:
    (home() / "trust.yaml").write_text(policy)
    with pytest.raises(UsageError, match=r"trust\.yaml"):
        find(FLOAT)


def test_without_the_packages_a_required_signature_refuses(
    any_model: str, keys: dict[str, tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_model(any_model, keys["ops"][0], nobody)
    monkeypatch.setitem(__import__("sys").modules, "model_signing", None)
    with pytest.raises(ModelError, match=r"pip install 'videodisco\[signing\]'"):
        find(any_model, trusting(keys["ops"][1]))
    assert find(any_model).signer == ""


def test_bundled_models_are_checked_by_hash_whoever_signed_them(
    tmp_path: Path, keys: dict[str, tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_model(FLOAT, keys["ops"][0], nobody)
    folder = Path(shutil.copytree(catalogue.BUNDLED, tmp_path / "bundled"))
    monkeypatch.setattr(catalogue, "BUNDLED", folder)
    flip(folder / f"{FLOAT}.onnx", -100)
    with pytest.raises(ModelError, match="is not the bundled file"):
        find(FLOAT, trusting(keys["ops"][1]))


def test_checking_says_who_signed(shelved: str, keys: dict[str, tuple[Path, Path]]) -> None:
    assert check_model(shelved, ()).words.endswith("signature: none")
    assert not check_model(shelved, [keys["ops"][1]]).holds
    sign_model(shelved, keys["ops"][0], nobody)
    assert "by a key that is not trusted here" in check_model(shelved, ()).words
    assert check_model(shelved, [keys["ops"][1]]).holds
    assert not check_model(shelved, [keys["other"][1]]).holds
    flip(store.take(shelved).folder / "model.sig", 900)
    assert not check_model(shelved, [keys["ops"][1]]).holds


def test_a_key_that_cannot_be_read_is_said_before_any_model_is_looked_at(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the key .*nope\.pub cannot be read: No such file"):
        check_model(FLOAT, [tmp_path / "nope.pub"])


@pytest.mark.parametrize("content", [b"junk", b"{}", b'{"verificationMaterial": {"publicKey": {"hint": "abcd"}}}'])
def test_what_is_no_signature_is_called_that(
    content: bytes, loose: str, keys: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    (tmp_path / "loose.onnx.sig").write_bytes(content)
    unread = "signature: a signature that cannot be read"
    assert check_model(loose, ()).words.endswith(unread)
    asked = check_model(loose, [keys["ops"][1]])
    assert (asked.holds, asked.words.endswith(unread)) == (False, True)
