"""Pulling models from a publisher: resumed, bounded, compared with what is known of them, over HTTPS alone."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from models.catalogue import bundled_names, find
from models.shelf import download, store, trial
from models.shelf.adding import Added
from models.shelf.download import https_opener
from models.shelf.pull import Wish, pull
from models.shelf.upstream import OWN_EXPORTS, PULLABLE, Upstream
from stream.errors import ModelError
from stream.home import home
from tests.model_files import detector
from tests.upstream_server import Publisher, publisher

CONTENT = detector().SerializeToString()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def offered(tmp_path: Path) -> Iterator[Publisher]:
    trial.keep(SHA256, trial.Measured(64, 64, 1.0, 1))
    with publisher(tmp_path, CONTENT) as running:
        yield running


def entry(offered: Publisher) -> Upstream:
    return Upstream("far", "Far 64", "MIT", offered.url, "mAP 0", len(CONTENT), SHA256, "computed by this test")


class _Heard:
    """What a download told of its progress."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int | None]] = []

    def __call__(self, done: int, total: int | None) -> None:
        self.told.append((done, total))


def fetched(offered: Publisher, wish: Wish | None = None, clock: Iterator[float] | None = None) -> Added:
    ticks = clock or iter(lambda: 0.0, None)
    return pull(wish or Wish(entry(offered)), https_opener(offered.context), _Heard(), lambda: next(ticks))


def test_a_pulled_model_is_on_the_shelf_with_its_source(offered: Publisher) -> None:
    added = fetched(offered)
    model = find("far")
    assert (model.sha256, model.path.read_bytes()) == (SHA256, CONTENT)
    assert added.manifest.licence == "MIT"
    assert added.manifest.source.model_dump() == {
        "location": offered.url,
        "sha256": SHA256,
        "verified": "computed by this test",
    }
    assert [path.name for path in (home() / "downloads").iterdir()] == ["far.lock"]


def test_pulled_again_nothing_is_fetched(offered: Publisher) -> None:
    assert fetched(offered).fresh
    assert not fetched(offered).fresh
    assert offered.requests == [""]


def test_a_broken_connection_is_gone_on_with(offered: Publisher) -> None:
    offered.breaks_after = [1000, 500]
    fetched(offered)
    assert offered.requests == ["", "bytes=1000-", "bytes=1500-"]


def test_a_later_call_goes_on_where_a_former_one_gave_up(offered: Publisher) -> None:
    offered.breaks_after = [100] * download.ATTEMPTS
    with pytest.raises(ModelError, match=r"broke off 4 times .* start it again to go on"):
        fetched(offered)
    fetched(offered)
    assert offered.requests[-1] == f"bytes={100 * download.ATTEMPTS}-"
    assert find("far").sha256 == SHA256


def test_another_file_than_the_first_part_came_from_is_fetched_anew(offered: Publisher) -> None:
    offered.breaks_after = [100] * download.ATTEMPTS
    offered.content = bytes(len(CONTENT))
    with pytest.raises(ModelError, match="broke off"):
        fetched(offered)
    offered.content, offered.tag = CONTENT, '"two"'
    fetched(offered)
    assert find("far").sha256 == SHA256


@pytest.mark.parametrize("change", [{"tag": ""}, {"tag": 'W/"weak"'}, {"ranges": False}])
def test_a_server_that_cannot_go_on_is_asked_anew(offered: Publisher, change: dict[str, object]) -> None:
    for name, value in change.items():
        setattr(offered, name, value)
    offered.breaks_after = [1000]
    fetched(offered)
    assert find("far").sha256 == SHA256


def test_another_file_than_expected_is_not_kept(offered: Publisher) -> None:
    offered.content = CONTENT[:-1] + b"x"
    with pytest.raises(ModelError, match=f"has the sha256 [0-9a-f]{{64}}, expected was {SHA256}: not kept"):
        fetched(offered)
    assert store.names() == []
    assert not list((home() / "downloads").glob("*.part"))


@pytest.mark.parametrize("says_length", [True, False])
def test_more_than_expected_is_not_read(offered: Publisher, says_length: bool) -> None:
    offered.content, offered.says_length = CONTENT + bytes(5_000_000), says_length
    with pytest.raises(ModelError, match=r"where the catalogue knows|sends more than"):
        fetched(offered)
    part = home() / "downloads" / "far.part"
    assert not part.exists() or part.stat().st_size <= len(CONTENT)


def test_a_download_that_takes_too_long_ends(offered: Publisher) -> None:
    with pytest.raises(ModelError, match="more than 30 minutes; what came is kept"):
        fetched(offered, clock=iter([0.0, 1801.0]))


def test_a_server_that_fails_is_asked_again_and_then_named(offered: Publisher) -> None:
    offered.status = 503
    with pytest.raises(ModelError, match=r"localhost broke off 4 times \(HTTP 503\)"):
        fetched(offered)
    assert len(offered.requests) == download.ATTEMPTS


def test_a_file_that_is_gone_is_said_to_be(offered: Publisher) -> None:
    offered.status = 404
    with pytest.raises(ModelError, match="localhost answers 404 Not Found for https://localhost"):
        fetched(offered)


def test_a_redirect_to_plain_http_is_refused(offered: Publisher) -> None:
    offered.redirect = offered.url.replace("https:", "http:")
    with pytest.raises(ModelError, match="over https only, not from http://localhost"):
        fetched(offered)


def test_a_redirect_over_https_is_followed_range_and_all(offered: Publisher) -> None:
    offered.redirect = offered.url.replace("/model.onnx", "/elsewhere")
    offered.breaks_after = [1000]
    fetched(offered)
    assert offered.requests[-1] == "bytes=1000-"


def test_redirects_in_a_circle_end(offered: Publisher) -> None:
    offered.redirect = offered.url
    with pytest.raises(ModelError, match="localhost answers 302"):
        fetched(offered)
    assert len(offered.requests) < 10


@pytest.mark.parametrize("url", ["http://localhost/m", "file:///etc/passwd", "ftp://localhost/m", "https:///m", "m"])
def test_other_addresses_than_https_are_not_opened(offered: Publisher, url: str) -> None:
    with pytest.raises(ModelError, match="over https only"):
        fetched(offered, Wish(replace(entry(offered), url=url)))


def test_a_server_nobody_vouches_for_is_not_believed(offered: Publisher) -> None:
    with pytest.raises(ModelError, match="localhost cannot be reached"):
        pull(Wish(entry(offered)), https_opener(), _Heard())
    assert offered.requests == []


def test_without_a_network_the_way_out_is_told(offered: Publisher) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen: the port is nobody else's meanwhile
        wish = Wish(replace(entry(offered), url=f"https://127.0.0.1:{nobody.getsockname()[1]}/model.onnx"))
        words = r"cannot be reached .*without a network here, fetch https://.* models add"
        with pytest.raises(ModelError, match=words):
            fetched(offered, wish)


class _Person:
    def __init__(self, answer: bool) -> None:
        self.answer, self.asked = answer, list[tuple[str, int]]()

    def __call__(self, sha256: str, size_bytes: int) -> bool:
        self.asked.append((sha256, size_bytes))
        return self.answer


def unvouched(offered: Publisher) -> Upstream:
    return replace(entry(offered), sha256="", size_bytes=None, vouched="")


def test_what_nobody_vouches_for_is_kept_only_once_somebody_has_seen_its_hash(offered: Publisher) -> None:
    with pytest.raises(ModelError, match=f"nobody vouches for far: .*--yes-sha256 {SHA256}"):
        fetched(offered, Wish(unvouched(offered)))
    doubting, sure = _Person(False), _Person(True)
    with pytest.raises(ModelError, match="nobody vouches"):
        fetched(offered, Wish(unvouched(offered), confirm=doubting))
    assert store.names() == []
    added = fetched(offered, Wish(unvouched(offered), confirm=sure))
    assert doubting.asked == sure.asked == [(SHA256, len(CONTENT))]
    assert added.manifest.source.verified == "confirmed by the user who pulled it"
    assert set(offered.requests[1:]) == {f"bytes={len(CONTENT)}-"}, "what came before was not fetched again"


def test_a_hash_given_beforehand_is_compared(offered: Publisher) -> None:
    with pytest.raises(ModelError, match=f"expected was {'0' * 64}"):
        fetched(offered, Wish(unvouched(offered), sha256="0" * 64))
    with pytest.raises(ModelError, match="the catalogue knows far by the sha256"):
        fetched(offered, Wish(entry(offered), sha256="0" * 64))
    assert fetched(offered, Wish(unvouched(offered), sha256=SHA256)).fresh


def test_a_pulled_file_is_looked_through_like_any_other(offered: Publisher) -> None:
    offered.content = b"\x80\x04pickle"
    with pytest.raises(ModelError, match="but a Python pickle"):
        fetched(offered, Wish(unvouched(offered), confirm=_Person(True)))
    assert store.names() == []


PULLING = """
import sys
from models.shelf.pull import _alone
with _alone("far"):
    print("alone", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_two_processes_do_not_pull_the_same_model(offered: Publisher) -> None:
    with subprocess.Popen([sys.executable, "-c", PULLING], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"alone\n"
        with pytest.raises(ModelError, match="another process is pulling far just now"):
            fetched(offered)
    assert other.returncode == 0
    assert fetched(offered).fresh


def test_the_catalogue_is_well_formed() -> None:
    names = [entry.name for entry in (*PULLABLE, *OWN_EXPORTS)]
    assert len(set(names)) == len(names)
    assert all(store.is_name(name) and name not in bundled_names() for name in names)
    for known in PULLABLE:
        parts = urlsplit(known.url)
        assert (parts.scheme, parts.path.endswith(".onnx")) == ("https", True)
        assert known.licence == "Apache-2.0"
        assert bool(known.sha256) == bool(known.vouched)
        assert not known.sha256 or (len(known.sha256) == 64 and int(known.sha256, 16))


def test_what_is_under_the_agpl_is_never_fetched() -> None:
    for own in OWN_EXPORTS:
        assert own.licence == "AGPL-3.0"
        assert own.commands[-1].startswith(f"videodisco models export {own.name}.pt ")
        assert not any("http" in command for command in own.commands)
