"""MQTT against a real broker: Frigate's shape, the will, a broker that dies, hangs, refuses."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge.events.publish.broker as broker_connection
import edge.events.publish.mqtt as mqtt
from edge.events.event import EventChange
from edge.events.publish.all import Publishers
from edge.events.publish.frigate import change_payload, level
from edge.events.publish.mqtt import MqttPublisher
from edge.events.publish.outbox import Message, Outbox
from edge.events.settings import ChangeType, MqttSettings, WebhookSettings
from stream.errors import UsageError
from stream.frame import Refinement
from stream.sources.status import SourceState
from tests.events import STARTED_AT, change, event
from tests.mqtt_broker import DEADLINE_S, Broker, Listener

PASSWORD, WRONG = "Passw0rd", "Wr0ng"

Start = Callable[..., MqttPublisher]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path).start()
    yield made
    made.stop()


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    made = Listener(broker.port)
    yield made
    made.close()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Makes publishers, and closes them at the end. They bear with a broker whose machine is busy."""
    made: list[MqttPublisher] = []
    monkeypatch.setattr(mqtt, "GREETING_S", DEADLINE_S)
    monkeypatch.setattr(broker_connection, "CONNECT_S", DEADLINE_S)

    def begin(port: int, **known: Any) -> MqttPublisher:
        made.append(MqttPublisher(MqttSettings(host="127.0.0.1", port=port, **known), luck=lambda: 0.1))
        made[-1].start()
        return made[-1]

    yield begin
    for each in made:
        each.close(2.0)
        each._thread.join(DEADLINE_S)
        each.close(0.0)  # what it had to leave to its thread
    assert not [each for each in made if each._thread.is_alive()]


def wait_until(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


# The shape


def test_an_event_has_the_shape_that_frigate_gave_it() -> None:
    said = Refinement(label="courier", confidence=0.8, model="lite0")
    known = event(3, zones=("door",), entered_zones=("yard", "door"), snapshot="a.jpg", refined=said, sequence=2)
    told = json.loads(change_payload(EventChange(ChangeType.UPDATE, known, event(3))))
    assert set(told) == {"type", "before", "after"}
    assert told["type"] == "update"
    assert told["before"]["entered_zones"] == []
    assert told["after"] == {
        "id": "1700000000003-abc",
        "camera": "cam1",
        "label": "person",
        "sub_label": "courier",
        "score": 0.7,
        "top_score": 0.9,
        "box": [11, 21, 31, 61],
        "start_time": STARTED_AT,
        "end_time": None,
        "current_zones": ["door"],
        "entered_zones": ["yard", "door"],
        "stationary": False,
        "has_clip": False,
        "has_snapshot": True,
    }


def test_a_new_event_has_itself_before() -> None:
    told = json.loads(change_payload(change("new")))
    assert told["before"] == told["after"]


@given(st.text())
def test_any_name_is_one_level_of_a_topic(name: str) -> None:
    assert level(name)
    assert not set(level(name)) & set("/+#\0")
    assert level("Front door 2") == "Front door 2"


# What waits


def test_too_many_events_cost_the_oldest_and_are_counted() -> None:
    outbox = Outbox(3)
    for number in range(5):
        outbox.add(Message("events", str(number)))
    outbox.put_back([Message("events", "1"), Message("state", "x", retained=True)])
    assert (outbox.dropped, len(outbox)) == (3, 3)
    assert [outbox.take() for _ in range(4)] == [*(Message("events", n) for n in "234"), None]


def test_of_values_only_the_last_is_told_and_after_a_loss_all_again() -> None:
    outbox = Outbox(3)
    for value in ("1", "2", "2"):
        outbox.set("count", value)
    outbox.set("state", "live")
    assert [outbox.take() for _ in range(3)] == [Message("count", "2", True), Message("state", "live", True), None]
    outbox.set("count", "2")
    assert outbox.take() is None
    outbox.put_back([])
    assert [outbox.take() for _ in range(3)] == [Message("count", "2", True), Message("state", "live", True), None]


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(UsageError, match=r"^MQTT needs the package paho-mqtt: pip install 'videodisco\[mqtt\]'$"):
        MqttPublisher(MqttSettings(host="broker"))


# The broker


def test_events_counts_and_states_are_told(broker: Broker, listener: Listener, start: Start) -> None:
    one = start(broker.port)
    one.camera_state("front/door", SourceState.LIVE)
    one.publish(change("new", 1, camera="front/door"))
    one.publish(change("new", 2, camera="front/door"))
    listener.wait_for(lambda: len(listener.events()) == 2)
    one.publish(change("update", 2, camera="front/door", class_name="dog"))
    one.publish(change("end", 1, camera="front/door"))
    listener.wait_for(lambda: len(listener.events()) == 4 and bool(listener.values("videodisco/front_door/dog")))
    assert [(each["type"], each["after"]["id"]) for each in listener.events()] == [
        ("new", "1700000000001-abc"),
        ("new", "1700000000002-abc"),
        ("update", "1700000000002-abc"),
        ("end", "1700000000001-abc"),
    ]
    wait_until(lambda: listener.values("videodisco/front_door/person")[-1] == "0")
    assert listener.values("videodisco/front_door/dog") == ["1"]
    assert listener.values("videodisco/front_door/state") == ["live"]
    assert listener.values("videodisco/available") == ["online"]
    one.publish(change("update", 1, camera="front/door", end_s=STARTED_AT))  # named after its end
    listener.wait_for(lambda: len(listener.events()) == 5)
    wait_until(lambda: one.statistics().waiting == 0)
    assert listener.values("videodisco/front_door/person")[-1] == "0"
    assert (one.statistics().is_connected, one.statistics().dropped) == (True, 0)
    one.close(DEADLINE_S)
    listener.wait_for(lambda: listener.values("videodisco/available") == ["online", "offline"])


def test_values_are_retained_and_events_are_not(broker: Broker, start: Start) -> None:
    one = start(broker.port, topic_prefix="home/cams")
    one.camera_state("yard", SourceState.STALLED)
    one.publish(change("new", 1, camera="yard"))
    wait_until(lambda: one.statistics().published == 4)
    late = Listener(broker.port, prefix="home/cams")
    late.wait_for(lambda: len(late.heard) == 3)
    late.close()
    assert sorted(late.heard) == [
        ("home/cams/available", "online", True),
        ("home/cams/yard/person", "1", True),
        ("home/cams/yard/state", "stalled", True),
    ]


def test_what_waits_is_told_when_closing(broker: Broker, listener: Listener, start: Start) -> None:
    one = start(broker.port)
    for number in range(300):
        one.publish(change("new", number))
    one.close(DEADLINE_S)
    one.publish(change("new", 999))
    listener.wait_for(lambda: listener.values("videodisco/available")[-1:] == ["offline"])
    listener.wait_for(lambda: len(listener.events()) == 300)
    assert one.statistics().waiting == 0


@pytest.mark.slow
def test_a_broker_that_is_killed_and_comes_back(
    broker: Broker, listener: Listener, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="edge")
    one = start(broker.port)
    for number in range(10):
        one.publish(change("new", number))
    listener.wait_for(lambda: len(listener.events()) == 10)
    broker.stop(signal.SIGTERM)  # it keeps the listener's session; what we sent and it has not is ours to repeat
    wait_until(lambda: not one.statistics().is_connected)
    for number in range(10, 30):
        one.publish(change("new", number))
    one.camera_state("cam1", SourceState.BACKING_OFF)
    one.camera_state("cam1", SourceState.LIVE)
    broker.start()
    listener.wait_for(lambda: len(listener.events()) == 30)
    told = [each["after"]["id"] for each in listener.events()]
    assert told == [change("new", number).event.id for number in range(30)]
    assert listener.values("videodisco/cam1/state") == ["live"]
    listener.wait_for(lambda: listener.values("videodisco/cam1/person")[-1] == "30")
    assert one.statistics().dropped == 0
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "MQTT broker 127.0.0.1: the connection was lost; events wait for it",
        "MQTT broker 127.0.0.1 takes events again",
    ]


@pytest.mark.slow
def test_nothing_is_lost_while_a_broker_flaps(broker: Broker, listener: Listener, start: Start) -> None:
    one, done = start(broker.port), threading.Event()

    def flap() -> None:
        try:
            for _ in range(3):
                time.sleep(0.3)
                broker.stop(signal.SIGTERM)
                broker.start()
        finally:
            done.set()

    flapping = threading.Thread(target=flap)
    flapping.start()
    number = 0
    while not done.is_set() and number < mqtt.CAPACITY // 2:
        one.publish(change("new", number))
        number += 1
        time.sleep(0.01)
    flapping.join()
    listener.wait_for(lambda: len(listener.events()) == number)
    assert [each["after"]["id"] for each in listener.events()] == [change("new", n).event.id for n in range(number)]


def test_a_broker_that_hangs_costs_nothing_but_the_oldest(
    broker: Broker, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "CAPACITY", 50)
    one = start(broker.port)
    wait_until(lambda: one.statistics().is_connected)
    broker.freeze()
    took_s = []
    for number in range(500):
        begun_s = time.monotonic()
        one.publish(change("new", number))
        took_s.append(time.monotonic() - begun_s)
    assert median(took_s) < 0.5
    wait_until(lambda: one.statistics().dropped > 400)
    begun_s = time.monotonic()
    one.close(0.5)
    assert time.monotonic() - begun_s < DEADLINE_S / 2
    broker.thaw()


def test_who_is_killed_is_said_to_be_offline(broker: Broker, listener: Listener) -> None:
    program = """
import sys, time
from edge.events.publish.mqtt import MqttPublisher
from edge.events.settings import MqttSettings
one = MqttPublisher(MqttSettings(host="127.0.0.1", port=int(sys.argv[1])))
one.start()
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program, str(broker.port)]) as process:
        listener.wait_for(lambda: listener.values("videodisco/available") == ["online"])
        process.kill()
    listener.wait_for(lambda: listener.values("videodisco/available") == ["online", "offline"])


def test_a_user_and_password(tmp_path: Path, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(passwords), "cams", PASSWORD], check=True)
    broker = Broker(tmp_path, "allow_anonymous false", f"password_file {passwords}").start()
    listener = Listener(broker.port, user="cams", password=PASSWORD)
    with caplog.at_level(logging.DEBUG):
        wrong = start(broker.port, user="cams", password=WRONG)
        refused = "MQTT broker 127.0.0.1: it refuses us: not authorized; events wait for it"
        wait_until(lambda: refused in caplog.messages)
        right = start(broker.port, user="cams", password=PASSWORD)
        right.publish(change())
        listener.wait_for(lambda: len(listener.events()) == 1)
    assert not wrong.statistics().is_connected
    assert WRONG not in caplog.text + repr(wrong._settings)
    right.close(DEADLINE_S)
    listener.close()
    broker.stop()


def test_a_server_that_accepts_and_says_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mqtt, "GREETING_S", 0.2)
    monkeypatch.setattr(mqtt, "LOOK_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = start(silent.getsockname()[1])
        wait_until(lambda: bool(caplog.records))
        one.close(0.2)
    assert caplog.messages == ["MQTT broker 127.0.0.1: it accepts the connection and says nothing; events wait for it"]


def test_who_answers_something_else_is_no_broker(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def babble() -> None:
            for _ in range(3):
                client, _ = listening.accept()
                with client, suppress(ConnectionError):
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"\xff" * 1000)
                    client.recv(1000)

        babbling = threading.Thread(target=babble, daemon=True)
        babbling.start()
        one = start(listening.getsockname()[1])
        babbling.join(DEADLINE_S)
        assert not babbling.is_alive()
        assert not one.statistics().is_connected
        one.close(0.2)
    assert len(caplog.records) == 1
    assert "events wait for it" in caplog.text


def test_nobody_there(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    one = start(9)
    wait_until(lambda: bool(caplog.records))
    one.publish(change())
    begun_s = time.monotonic()
    one.close(DEADLINE_S)
    assert time.monotonic() - begun_s < DEADLINE_S / 2
    assert caplog.messages == ["MQTT broker 127.0.0.1: connection refused; events wait for it"]


@pytest.mark.filterwarnings("ignore:.*ssl.SSLSocket")  # paho leaves the socket of a failed handshake to the collector
def test_tls(tmp_path: Path, start: Start) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    broker = Broker(tmp_path, "allow_anonymous true", f"certfile {certificate}", f"keyfile {key}").start()
    trusting = start(broker.port, tls=True, ca_file=certificate)
    for number in range(100):
        trusting.publish(change("new", number))
    wait_until(lambda: trusting.statistics().published >= 100)
    doubting = start(broker.port, tls=True)
    wait_until(lambda: "certificate is not trusted" in doubting._complaint)
    trusting.close(DEADLINE_S)
    broker.stop()
    with pytest.raises(UsageError, match=r"cannot use the certificates .*none\.pem: no such file"):
        MqttPublisher(MqttSettings(host="b", tls=True, ca_file=tmp_path / "none.pem"))


def test_webhooks_and_broker_together(broker: Broker, listener: Listener, tmp_path: Path) -> None:
    hooks = [WebhookSettings(url="http://127.0.0.1:9/")]
    publishers = Publishers(hooks, MqttSettings(host="127.0.0.1", port=broker.port), tmp_path)
    publishers.start()
    publishers.camera_state("cam1", SourceState.CONNECTING)
    publishers.publish(change())
    listener.wait_for(lambda: len(listener.events()) == 1 and bool(listener.values("videodisco/cam1/state")))
    publishers.close(DEADLINE_S)
    statistics = publishers.statistics()
    assert statistics.mqtt is not None
    assert statistics.mqtt.published >= 4
    assert statistics.webhooks["1:127.0.0.1"].waiting == 1
