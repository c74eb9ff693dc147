"""Who may come in, by pure rules: origins, hosts, proxies, rates, sessions, tokens, patience."""

from __future__ import annotations

import base64
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from stream.http.auth import OPEN, Doorkeeper, require, token_of
from stream.http.client import Network, Seen, counted_as, seen
from stream.http.endpoints import Identity
from stream.http.errors import HttpError
from stream.http.origin import check_host, check_origin
from stream.http.patience import Patience
from stream.http.rates import RateLimiter
from stream.http.sessions import Sessions
from stream.http.settings import HttpSettings, LimitSettings, Role
from stream.http.visits import Visits
from tests.http_demo import ADMIN, OPERATE, TOKENS, VIEW

PROXIES: tuple[Network, ...] = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
HOST = "cam.example:8080"


# --- names ---


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "192.168.1.9", "[::1]:8080", "[fe80::1]", "x.localhost", "cam"],
)
def test_own_names_and_plain_addresses_are_ours(host: str) -> None:
    check_host(host, own=("Cam",), any_name=False)


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example", "cam.example"]
)
def test_other_names_are_not(host: str) -> None:
    with pytest.raises(HttpError) as caught:
        check_host(host, own=("cam",), any_name=False)
    assert (caught.value.status, caught.value.cause) == (421, "host")
    check_host(host, own=(), any_name=True)


@pytest.mark.parametrize("host", [None, "", ":80", "a:b", "a:99999", "a/b", "a?b", "u@a", "[::1", "a#b"])
def test_what_is_no_host_is_refused(host: str | None) -> None:
    with pytest.raises(HttpError) as caught:
        check_host(host, own=(), any_name=True)
    assert caught.value.status == 400


def origin_allows(
    method: str, *, websocket: bool = False, ambient: bool = False, secure: bool = False, **headers: Any
) -> bool:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        check_origin(method, named, host=HOST, secure=secure, websocket=websocket, ambient=ambient)
    except HttpError as exc:
        assert (exc.status, exc.cause) == (403, "origin")
        return False
    return True


OWN = f"http://{HOST}"
LINK: dict[str, Any] = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_our_own_page_may_do_all(method: str) -> None:
    assert origin_allows(method, ambient=True, Sec_Fetch_Site="same-origin", Origin=OWN)
    assert origin_allows(method, ambient=True, Origin=OWN)
    assert origin_allows(method, ambient=True, Sec_Fetch_Site="none")


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_pages_of_others_may_not_even_look(site: str) -> None:
    assert not origin_allows("POST", Sec_Fetch_Site=site)
    assert not origin_allows("GET", Sec_Fetch_Site=site)
    assert not origin_allows("GET", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe")
    assert not origin_allows("GET", websocket=True, Sec_Fetch_Site=site, Sec_Fetch_Mode="websocket")


def test_a_link_may_be_followed_but_no_form_sent() -> None:
    assert origin_allows("GET", Sec_Fetch_Site="cross-site", **LINK)
    assert not origin_allows("POST", Sec_Fetch_Site="cross-site", **LINK)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://cam.example",
        "http://cam.example:8081",
        f"ftp://{HOST}",
        f"{OWN}/",
        HOST,
    ],
)
def test_a_foreign_origin_is_refused(origin: str) -> None:
    assert not origin_allows("POST", Origin=origin)
    assert not origin_allows("GET", websocket=True, Origin=origin)
    assert not origin_allows("GET", Origin=origin)


def test_plain_http_does_not_speak_for_https() -> None:
    assert origin_allows("POST", secure=True, Origin=f"https://{HOST}")
    assert not origin_allows("POST", secure=True, Origin=OWN)
    assert origin_allows("POST", secure=False, Origin=f"https://{HOST}"), "a proxy may have taken HTTPS off"


def test_programs_send_no_origin_but_then_a_cookie_is_not_enough() -> None:
    assert origin_allows("POST")
    assert not origin_allows("POST", ambient=True)
    assert not origin_allows("GET", websocket=True, ambient=True)
    assert origin_allows("GET", ambient=True)


# --- clients ---


def look(peer: str, **headers: str) -> Seen:
    named = CIMultiDict((name.replace("_", "-"), line) for name, text in headers.items() for line in text.split("\n"))
    return seen(peer, tls=False, headers=CIMultiDictProxy(named), proxies=PROXIES)


def test_only_trusted_proxies_are_believed() -> None:
    claims = {"X_Forwarded_For": "1.2.3.4", "X_Forwarded_Proto": "https"}
    assert look("8.8.8.8", **claims) == Seen("8.8.8.8", secure=False)
    assert look("10.0.0.1", **claims) == Seen("1.2.3.4", secure=True)
    assert look("::ffff:10.0.0.1", **claims) == Seen("1.2.3.4", secure=True)


def test_the_nearest_stranger_counts() -> None:
    assert look("10.0.0.1", X_Forwarded_For="6.6.6.6, 1.2.3.4, 10.0.0.2").client == "1.2.3.4"
    assert look("10.0.0.1", X_Forwarded_For="6.6.6.6, garbage, 10.0.0.2").client == "10.0.0.2"
    assert look("10.0.0.1", X_Forwarded_For="6.6.6.6\n1.2.3.4").client == "1.2.3.4", "a line of its own comes last"
    assert not look("10.0.0.1", X_Forwarded_Proto="https\nhttp").secure
    assert look("10.0.0.1", X_Forwarded_For="").client == "10.0.0.1"
    assert look("10.0.0.1", X_Forwarded_For="10.0.0.3").client == "10.0.0.3"


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9%eth0", "2001:db8:1:2::/64"),
        ("::1", "::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("1.2.3.4", "1.2.3.4"),
        ("unknown", "unknown"),
    ],
)
def test_a_client_is_a_network_of_ipv6(address: str, counted: str) -> None:
    assert counted_as(address) == counted


# --- rates ---


def test_a_minute_of_requests_at_once_then_evenly() -> None:
    limiter = RateLimiter(60)
    assert [limiter.take("a", 0.0) for _ in range(60)] == [0.0] * 60
    assert limiter.take("a", 0.0) == pytest.approx(1.0)
    assert limiter.take("a", 0.25) == pytest.approx(0.75)
    assert limiter.take("b", 0.25) == 0.0
    assert limiter.take("a", 1.0) == 0.0
    assert limiter.take("a", 1.0) == pytest.approx(1.0)


def test_looking_takes_nothing_and_none_is_no_limit() -> None:
    limiter = RateLimiter(1)
    assert [limiter.wait_s("a", 0.0) for _ in range(3)] == [0.0] * 3
    assert limiter.take("a", 0.0) == 0.0
    assert limiter.wait_s("a", 30.0) == pytest.approx(30.0)
    assert [RateLimiter(0).take("a", 0.0) for _ in range(1000)] == [0.0] * 1000


def test_the_table_of_clients_is_bounded() -> None:
    limiter = RateLimiter(1, max_clients=10)
    for number in range(1000):
        limiter.take(str(number), 0.0)
    assert len(limiter._buckets) == 10


@given(st.lists(st.floats(0, 100), max_size=200), st.integers(1, 50))
def test_never_more_than_a_burst_and_the_rate(gaps_s: list[float], per_minute: int) -> None:
    limiter = RateLimiter(per_minute)
    now_s, taken = 0.0, 0
    for gap_s in gaps_s:
        now_s += gap_s
        taken += limiter.take("a", now_s) == 0
    assert taken <= per_minute + now_s * per_minute / 60 + 1e-6


# --- sessions and tokens ---


def test_a_session_ends() -> None:
    sessions = Sessions(10)
    cookie = sessions.open(OPEN, 100.0)
    found = sessions.find(cookie, 109.9)
    assert found is not None
    assert found.identity is OPEN
    assert sessions.find(cookie, 110.0) is None
    assert sessions.find(cookie, 100.0) is None, "once over, it stays over"
    assert sessions.find("", 100.0) is None


def test_sessions_are_bounded_and_kept_by_hash() -> None:
    sessions = Sessions(10, max_sessions=3)
    cookies = [sessions.open(OPEN, 0.0) for _ in range(5)]
    assert [sessions.find(cookie, 1.0) is not None for cookie in cookies] == [False, False, True, True, True]
    assert not any(cookie.encode() in key for cookie in cookies for key in sessions._sessions)


def keeper(**more: Any) -> Doorkeeper:
    return Doorkeeper(HttpSettings.model_validate({"tokens": TOKENS, **more}))


def by_header(door: Doorkeeper, header: str, now_s: float = 0.0, client: str = "c") -> Identity | None:
    return door.identify(header, "", None, client=client, now_s=now_s)


def test_tokens_are_known_by_either_scheme() -> None:
    door = keeper()
    basic = base64.b64encode(f"anybody:{ADMIN}".encode()).decode()
    assert by_header(door, f"Bearer {VIEW}") == Identity("screen", Role.VIEW, "token")
    assert by_header(door, f"bearer  {OPERATE} ") == Identity("guard", Role.OPERATE, "token")
    assert by_header(door, f"Basic {basic}") == Identity("owner", Role.ADMIN, "token")
    assert by_header(door, "") is None


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer x", f"Bearer {VIEW}x", f"Token {VIEW}", VIEW, "Basic !!", "Basic eA==", "Bearer \udcff"],
)
def test_others_are_not(header: str) -> None:
    with pytest.raises(HttpError) as caught:
        by_header(keeper(), header)
    assert caught.value.status == 401
    assert caught.value.headers == {"WWW-Authenticate": 'Bearer realm="videodisco"'}


def test_guessing_is_slow_and_then_nothing_is_compared() -> None:
    door = keeper(limits={"failed_logins_per_minute": 3})
    for _ in range(3):
        with pytest.raises(HttpError, match="not known"):
            by_header(door, "Bearer wrong")
    with pytest.raises(HttpError, match="too many wrong tokens") as caught:
        by_header(door, f"Bearer {ADMIN}")
    assert caught.value.status == 429
    assert caught.value.retry_after_s == pytest.approx(20)
    assert by_header(door, f"Bearer {ADMIN}", client="other") is not None
    assert by_header(door, f"Bearer {ADMIN}", now_s=20.1) is not None


def test_a_good_token_is_no_guess() -> None:
    door = keeper(limits={"failed_logins_per_minute": 1})
    assert all(by_header(door, f"Bearer {VIEW}") for _ in range(100))


def test_a_client_certificate_counts_where_there_are_no_tokens() -> None:
    tls = {"certificate": "c", "key": "k", "client_ca": "ca", "client_role": "view"}
    certificate = {"subject": ((("countryName", "XX"),), (("commonName", "edge-7"),))}
    door = keeper(tokens=(), tls=tls)
    assert door.identify("", "", certificate, client="c", now_s=0) == Identity("edge-7", Role.VIEW, "certificate")
    assert door.identify("", "", None, client="c", now_s=0) is None
    assert keeper(tls=tls).identify("", "", certificate, client="c", now_s=0) is None


def test_roles_are_required() -> None:
    require(Identity("a", Role.OPERATE, "token"), Role.VIEW)
    with pytest.raises(HttpError, match="needs the role admin, yours is operate"):
        require(Identity("a", Role.OPERATE, "token"), Role.ADMIN)
    with pytest.raises(HttpError, match="say who you are"):
        require(None, Role.VIEW)


@given(st.text(max_size=80))
def test_any_authorization_gives_some_text(header: str) -> None:
    assert isinstance(token_of(header), str)


# --- patience ---

LIMITS = LimitSettings(head_timeout_s=10, idle_s=60, send_timeout_s=20, sockets=4, sockets_per_client=3)


def test_a_silent_socket_has_the_time_of_a_head() -> None:
    patience = Patience(100.0)
    assert patience.verdict(109.9, 0, LIMITS) is None
    assert patience.verdict(110.0, 0, LIMITS) == "head_timeout"
    patience.heard(105.0)
    assert patience.verdict(110.0, 0, LIMITS) == "head_timeout", "a byte buys no time"


def test_between_requests_it_may_idle_but_a_head_that_began_must_end() -> None:
    patience = Patience(0.0)
    patience.began()
    assert patience.verdict(1000.0, 0, LIMITS) is None
    patience.ended(1000.0)
    assert patience.verdict(1059.9, 0, LIMITS) is None
    assert patience.verdict(1060.0, 0, LIMITS) == "idle"
    patience.heard(1010.0)
    patience.heard(1019.0)
    assert patience.verdict(1020.0, 0, LIMITS) == "head_timeout"


def test_a_reader_must_take_64_kib_in_its_time() -> None:
    patience = Patience(0.0)
    patience.began()
    patience.blocked(0.0, 1 << 20)
    assert patience.verdict(19.9, (1 << 20) - 1, LIMITS) is None
    assert patience.verdict(20.0, (1 << 20) - 1, LIMITS) == "slow_reader"
    assert patience.verdict(20.0, (1 << 20) - (64 << 10), LIMITS) is None, "it took enough: the clock starts anew"
    assert patience.verdict(40.0, (1 << 20) - (64 << 10), LIMITS) == "slow_reader"
    patience.flowed()
    assert patience.verdict(1000.0, 0, LIMITS) is None


class Room:
    """Visits of which one can see who was dropped, and why."""

    def __init__(self) -> None:
        self.causes: list[str] = []
        self.dropped: list[str] = []
        self.count = 0
        self.visits = Visits(LIMITS, self.causes.append, lambda count: setattr(self, "count", count))

    def come(self, name: str, client: str, now_s: float, *, busy: bool = False, counted: bool = True) -> bool:
        visit = self.visits.admit(client, now_s, counted=counted)
        if visit is None:
            return False
        visit.drop = lambda: self.dropped.append(name)
        if busy:
            self.visits.began(visit)
        return True


def test_the_one_idle_longest_gives_way() -> None:
    room = Room()
    assert [room.come(f"a{at}", "a", at) for at in range(3)] == [True] * 3
    assert room.come("b0", "b", 3)
    assert room.come("c0", "c", 4)
    assert room.dropped == ["a0"]
    assert (room.count, room.causes) == (4, ["gave_way"])


def test_a_client_crowds_out_only_itself() -> None:
    room = Room()
    assert room.come("b0", "b", 0)
    assert all(room.come(f"a{at}", "a", at) for at in range(1, 50))
    assert "b0" not in room.dropped
    assert room.count == 4


def test_those_at_work_stay_and_the_next_is_turned_away() -> None:
    room = Room()
    assert all(room.come(f"a{at}", "a", at, busy=True) for at in range(3))
    assert not room.come("a3", "a", 100)
    assert room.come("b0", "b", 100, busy=True)
    assert not room.come("c0", "c", 100)
    assert (room.dropped, room.causes) == ([], ["sockets", "sockets"])


def test_a_reader_that_is_stuck_gives_way_too() -> None:
    room = Room()
    visit = room.visits.admit("a", 0.0)
    assert visit is not None
    room.visits.began(visit)
    visit.patience.blocked(1.0, 1 << 20)
    assert all(room.come(f"b{at}", "b", 1, busy=True) for at in range(3))
    assert not room.come("c0", "c", 3.9)
    assert room.come("c1", "c", 4.0)


def test_a_proxy_is_many_clients() -> None:
    room = Room()
    assert all(room.come(f"p{at}", "proxy", at, counted=False, busy=True) for at in range(4))
    assert not room.come("p4", "proxy", 9, counted=False)
