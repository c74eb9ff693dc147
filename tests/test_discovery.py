"""Finding network cameras: against a camera of ours on loopback, honest, guarded and hostile."""

from __future__ import annotations

import asyncio
import gzip
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from stream.discovery import onvif, soap, ws_search
from stream.discovery.onvif import Found, NetworkCamera, Search, find_cameras
from stream.discovery.soap import CameraStream, Credentials
from stream.discovery.vendors import VENDOR_PATHS, vendors_of
from stream.discovery.ws_messages import announcements
from stream.discovery.xml_reading import MAX_XML_BYTES, UnreadableXmlError, read_xml
from stream.errors import SourceError
from tests.fake_onvif import LOOPBACK, FakeCamera, Model, fake_camera, probe_match

PATIENCE_S = (0.15, 1.0, 4.0, 16.0)
"""How long a search listens; a machine too busy to answer within the first is given more time."""
STREAMS = (
    CameraStream("main", "H264", 1920, 1080, "rtsp://127.0.0.1:8554/main"),
    CameraStream("sub", "H264", 640, 360, "rtsp://127.0.0.1:8554/sub"),
)
ADMIN = Credentials("admin", "p<w:rd")
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><x>&i;</x>"
)


def found_by(
    camera: FakeCamera,
    credentials: Credentials | None = None,
    hosts: tuple[str, ...] = (),
    *,
    enough: Callable[[Found], bool] = lambda found: bool(found.cameras),
) -> Found:
    """What a search finds once that is ``enough``, or in the end."""
    search = Search(0.0, hosts, credentials, ask_deadline_s=30, port=camera.discovery_port)
    for timeout_s in PATIENCE_S:
        found = asyncio.run(find_cameras(replace(search, timeout_s=timeout_s)))
        if enough(found):
            break
    return found


def only(found: Found) -> NetworkCamera:
    (camera,) = found.cameras
    return camera


def test_a_camera_is_found_by_multicast_with_its_streams() -> None:
    with fake_camera() as camera:
        found = found_by(camera)
    assert LOOPBACK in found.asked
    assert only(found) == NetworkCamera(LOOPBACK, camera.address, "Front Door", "Acme", "Dome 4", STREAMS)


def test_each_question_is_sent_twice_and_the_camera_asked_once() -> None:
    with fake_camera() as camera:
        only(found_by(camera))
    # Each search asks two of its own.
    assert set(Counter(camera.questions).values()) == {2}
    assert len(set(camera.questions)) % 2 == 0
    assert sum("GetProfiles" in request for request in camera.requests) == 1
    assert not any("Security" in request for request in camera.requests)


def test_a_camera_is_found_by_its_address_where_multicast_does_not_reach() -> None:
    with fake_camera(on_group=False) as camera:
        assert found_by(camera, enough=lambda _found: True).cameras == ()
        assert only(found_by(camera, hosts=("localhost",))).streams == STREAMS


def test_a_camera_that_does_not_announce_itself_is_found_at_its_usual_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_camera(Model(datagrams=lambda _asked, _own: [])) as camera:
        monkeypatch.setattr(onvif, "DEVICE_SERVICE_PORTS", (1, camera.port))
        found = found_by(camera, hosts=(LOOPBACK,))
    assert only(found) == NetworkCamera(LOOPBACK, camera.address, "Dome 4", "Acme", "Dome 4", STREAMS)


def test_several_cameras_are_all_found() -> None:
    with fake_camera() as first, fake_camera(Model(model="Bullet"), discovery_port=first.discovery_port) as second:
        found = found_by(first, enough=lambda found: len(found.cameras) == 2)
    assert {camera.address for camera in found.cameras} == {first.address, second.address}


def test_a_host_without_an_address_is_refused() -> None:
    with pytest.raises(SourceError, match=r"camera\.invalid has no address"):
        asyncio.run(find_cameras(Search(hosts=("camera.invalid",))))


@pytest.mark.parametrize("digest", [False, True], ids=["within the message", "by HTTP"])
def test_a_guarded_camera_tells_its_streams_to_its_user(digest: bool) -> None:
    guarded = Model(user=ADMIN.user, password=ADMIN.password, digest=digest)
    with fake_camera(guarded) as camera:
        nobody = only(found_by(camera))
        wrong = only(found_by(camera, Credentials("admin", "wrong")))
        camera.requests.clear()
        user = only(found_by(camera, ADMIN))
    assert (nobody.streams, nobody.problem) == ((), "it tells its streams to its users only")
    assert (wrong.streams, wrong.problem) == ((), "it refuses this user or password")
    assert nobody.wants_user
    assert wrong.wants_user
    assert (user.streams, user.problem) == (STREAMS, "")
    assert not any(ADMIN.password in request or "p&lt;w" in request for request in camera.requests)


@pytest.mark.parametrize("hours", [-10, 10])
def test_signatures_are_dated_by_the_cameras_own_clock(hours: int) -> None:
    model = Model(user=ADMIN.user, password=ADMIN.password, clock_ahead=timedelta(hours=hours))
    with fake_camera(model) as camera:
        assert only(found_by(camera, ADMIN)).streams == STREAMS


def test_a_wrong_password_is_tried_once_so_that_no_camera_locks_its_user_out() -> None:
    with fake_camera(Model(user="admin", password="right")) as camera:  # noqa: S106 - of a camera of ours
        only(found_by(camera, Credentials("admin", "wrong")))
    assert sum("UsernameToken" in request and "GetCapabilities" not in request for request in camera.requests) == 1


def test_credentials_in_a_streams_address_are_not_repeated() -> None:
    uri = "rtsp://admin:secret@192.0.2.7:554/live?user=admin&amp;password=secret"
    with fake_camera(Model(profiles=(("main", "H264", 1, 1, uri),))) as camera:
        (stream,) = only(found_by(camera)).streams
    assert stream.uri == "rtsp://192.0.2.7:554/live?user=***&password=***"


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "concat:a|b", "", "rtsp://", "rtsp://a b/c", "rtsp://[::1/x"])
def test_an_address_that_is_no_streams_is_left_out(uri: str) -> None:
    with fake_camera(Model(profiles=(("main", "H264", 1, 1, uri),))) as camera:
        (stream,) = only(found_by(camera)).streams
    assert (stream.name, stream.uri) == ("main", "")


def test_text_of_a_camera_cannot_steer_the_terminal() -> None:
    # C1 controls and direction marks are allowed in XML; escape and line feed are not or come percent-encoded.
    with fake_camera(Model(maker="A\x9bcme\u202e", name="Door%1B%5B2J%0Avideodisco:%20x")) as camera:
        found = only(found_by(camera))
    assert (found.maker, found.name) == ("Acme", "Door[2J videodisco: x")


HOSTILE_DATAGRAMS: dict[str, Callable[[str, str], list[bytes]]] = {
    "no xml": lambda _asked, _own: [b"", b"\xff\xfe\x00", b"hello", b"<a>" * 1000],
    "an entity bomb": lambda _asked, _own: [BOMB.encode()],
    "an external entity": lambda asked, own: [
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + probe_match(asked, own, scopes="&e;")
    ],
    "another's id": lambda _asked, own: [probe_match(uuid.uuid4().urn, own), probe_match("", own)],
    "much too deep": lambda asked, own: [probe_match(asked, own, scopes="<a>" * 1000 + "</a>" * 1000)],
}


@pytest.mark.parametrize("kind", HOSTILE_DATAGRAMS)
def test_hostile_announcements_are_counted_and_hide_nobody(kind: str) -> None:
    model = Model(datagrams=HOSTILE_DATAGRAMS[kind])
    with fake_camera(model) as hostile, fake_camera(discovery_port=hostile.discovery_port) as honest:
        found = found_by(honest, enough=lambda found: bool(found.cameras and found.unread_answers))
    assert only(found).address == honest.address
    assert found.unread_answers >= 1
    assert not hostile.requests


@pytest.mark.parametrize(
    "addresses",
    ["http://192.0.2.9/onvif", "http://localhost/x", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "http://[::1", ""],
)
def test_a_device_that_points_elsewhere_is_listed_and_nobody_is_asked(addresses: str) -> None:
    with fake_camera(Model(datagrams=lambda asked, _own: [probe_match(asked, addresses, endpoint="urn:1")])) as camera:
        found = only(found_by(camera))
    assert (found.address, found.problem) == ("", "it names no address of its own to be asked at")
    assert not camera.requests


def test_of_several_addresses_its_own_is_asked() -> None:
    def both(asked: str, own: str) -> list[bytes]:
        return [probe_match(asked, f"http://192.0.2.9/onvif {own}")]

    with fake_camera(Model(datagrams=both)) as camera:
        assert only(found_by(camera)).address == camera.address


def test_a_flood_from_one_address_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws_search, "MAX_DATAGRAMS_PER_SENDER", 5)
    monkeypatch.setattr(onvif, "MAX_CAMERAS", 3)
    flood = Model(datagrams=lambda asked, _own: [probe_match(asked, "") for _ in range(20)])
    with fake_camera(flood) as camera:
        found = found_by(camera, enough=lambda found: found.unread_answers >= 20 - 5)
    assert len(found.cameras) == 3
    assert found.unread_answers >= 20 - 5


HOSTILE_ANSWERS: dict[str, tuple[bytes, str]] = {
    "no xml": (b"<html>welcome", "is not that of an ONVIF device"),
    "an entity bomb": (BOMB.encode(), "is not that of an ONVIF device"),
    "too much": (b"<a>" + b" " * (4 * MAX_XML_BYTES), "is not that of an ONVIF device"),
    "a compressed bomb": (gzip.compress(b"<a>") + gzip.compress(b" " * 10**6) * 100, "is not that of an ONVIF device"),
    "nothing in it": (b'<e:Envelope xmlns:e="x"><e:Body/></e:Envelope>', ""),
}


@pytest.mark.parametrize("kind", HOSTILE_ANSWERS)
def test_hostile_answers_are_a_problem_of_that_camera_only(kind: str) -> None:
    body, words = HOSTILE_ANSWERS[kind]
    with fake_camera(Model(http=lambda _request: body)) as camera:
        found = only(found_by(camera))
    assert found.streams == ()
    assert words in found.problem
    assert bool(found.problem) == bool(words)


@pytest.mark.parametrize(("year", "told"), [(1970, True), (2026, True), (9999, False), (1, False), (10_000, False)])
def test_a_clock_that_is_about_to_leave_the_calendar_is_not_followed(year: int, *, told: bool) -> None:
    moment = (
        "<Time><Hour>23</Hour><Minute>59</Minute><Second>60</Second></Time>"
        f"<Date><Year>{year}</Year><Month>12</Month><Day>31</Day></Date>"
    )
    answer = (
        '<e:Envelope xmlns:e="x" xmlns="y"><e:Body><GetSystemDateAndTimeResponse><SystemDateAndTime>'
        f"<UTCDateTime>{moment}</UTCDateTime></SystemDateAndTime></GetSystemDateAndTimeResponse></e:Body></e:Envelope>"
    )
    clock = soap.clock_in(soap.read_answer(answer.encode()))
    assert clock == (datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC) if told else None)


def test_a_camera_that_answers_for_ever_is_left_at_its_deadline() -> None:
    with fake_camera(Model(drip=True)) as camera, fake_camera(discovery_port=camera.discovery_port) as honest:
        for limit_s in PATIENCE_S[1:]:
            began_s = time.monotonic()
            search = Search(limit_s / 2, ask_deadline_s=limit_s / 2, port=camera.discovery_port)
            found = asyncio.run(find_cameras(search))
            took_s = time.monotonic() - began_s
            problems = {found.address: found.problem for found in found.cameras}
            if len(problems) == 2 and not problems[honest.address]:
                break
    assert problems[honest.address] == ""
    assert problems[camera.address] in {"it did not answer in time", "there was no time left to ask it"}
    assert took_s < 60


def test_a_redirect_is_not_followed() -> None:
    with fake_camera(Model(redirect=True)) as camera:
        assert "HTTP 307" in only(found_by(camera)).problem
    assert len(camera.requests) == 1


def test_at_most_a_few_profiles_are_asked_for() -> None:
    many = tuple((f"p{number}", "H265", 1, 1, f"rtsp://127.0.0.1/{number}") for number in range(40))
    with fake_camera(Model(profiles=many)) as camera:
        assert len(only(found_by(camera)).streams) == soap.MAX_PROFILES


def test_a_profile_without_an_address_does_not_hide_the_others() -> None:
    # The fake knows no token with an ampersand in it: it answers with a fault.
    profiles = (("a&amp;b", "JPEG", 1, 1, ""), ("main", "H264", 2, 2, "rtsp://127.0.0.1/main"))
    with fake_camera(Model(profiles=profiles)) as camera:
        streams = only(found_by(camera)).streams
    assert [(stream.name, stream.uri) for stream in streams] == [("a&b", ""), ("main", "rtsp://127.0.0.1/main")]
    assert any("<ProfileToken>a&amp;b<" in request for request in camera.requests)


def test_xml_is_bounded_in_every_way() -> None:
    assert read_xml(b"<a><b>c</b></a>").findtext("b") == "c"
    for data in (
        b"<a>" + b"x" * MAX_XML_BYTES + b"</a>",
        b"<a>" + b"<b/>" * 20_000 + b"</a>",
        b"<!DOCTYPE a><a/>",
        b"<a>&unknown;</a>",
        b'<?xml version="1.0" encoding="utf-16"?><a>\xff</a>',
    ):
        with pytest.raises(UnreadableXmlError):
            read_xml(data)


def test_answers_match_whatever_way_their_id_is_written() -> None:
    asked = frozenset({"urn:uuid:0a1b2c3d-0000-0000-0000-000000000000"})
    for spelling in ("uuid:0A1B2C3D-0000-0000-0000-000000000000", "0a1b2c3d-0000-0000-0000-000000000000"):
        assert len(announcements(probe_match(spelling, ""), LOOPBACK, asked)) == 1


def test_vendors_are_known_by_what_cameras_say_of_themselves() -> None:
    assert [vendor.maker for vendor in vendors_of("HIKVISION DS-2CD2042WD")] == ["Hikvision"]
    assert [vendor.maker for vendor in vendors_of("Amcrest IP8M")] == ["Dahua"]
    assert vendors_of("Acme Yippee") == ()


def test_every_path_can_be_put_behind_a_host() -> None:
    for vendor in VENDOR_PATHS:
        assert vendor.main.startswith("/"), vendor
        assert vendor.sub.startswith("/") or not vendor.sub, vendor
