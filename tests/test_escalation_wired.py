"""The commands as they are run: a refiner and an edge in processes of their own, and what is left when they are killed.

Proved by counting keys: of the decisions of the edge, of its answers, of its queue, and of what the cloud has stored.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.errors import EXIT_SIGTERM
from tests.commands import command, environment
from tests.escalation import lines
from tests.ports import HeldPort

pytestmark = pytest.mark.slow

WAIT_S = 120.0
SPAN_S = 2.0

POLICY = {
    "confidence_low": 0.0,
    "confidence_high": 1.0,
    "min_sharpness": 0,
    "min_hits": 1,
    "min_size_px": 8,
    "settle_s": 0.1,
    "track_cooldown_s": 0.1,
    "without_counterpart": True,
}
"""Asks about nearly everything, again and again."""

CLIENT = {"connect_timeout_s": 30, "timeout_s": 60, "failures": 3, "longest_pause_s": 0.5, "batch": 32}


class Street:
    """A refiner and an edge beside a street, each with a home of its own. ``run`` is the folder of the edge's run."""

    def __init__(self, folder: Path, clip: Path) -> None:
        self.folder = folder
        self.clip = clip
        self.run = folder / "runs" / "edge"
        self._port = HeldPort()
        self.port = self._port.number

    @contextmanager
    def cloud(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """Listening."""
        arguments = ("cloud", "--no-mlflow", "--port", str(self.port), "--project", "cloud", *options)
        with self._process("cloud", arguments, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline().endswith(f":{self.port}\n")
            yield process

    @contextmanager
    def edge(self, name: str = "edge", **policy: Any) -> Iterator[subprocess.Popen[str]]:
        """Its clip is played at its own pace, again and again; looked at so seldom that a busy machine can, too."""
        escalation = {
            "enabled": True,
            "shadow": False,
            "url": f"http://127.0.0.1:{self.port}",
            "policy": POLICY | policy,
            "client": CLIENT,
            "budget": {"requests_per_s": None},
        }
        content = {
            "cameras": {"street": {"source": str(self.clip), "loop": True, "motion": "off", "detect_fps": 8}},
            "escalation": escalation,
            "mlflow": {"enabled": False},
            "output": {"name": name},
        }
        config = self.folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(content), encoding="utf-8")
        with self._process("edge", ("run", "--config", str(config)), stderr=subprocess.DEVNULL) as process:
            yield process

    @contextmanager
    def _process(
        self, home: str, arguments: tuple[str, ...], *, stdout: int | None = None, stderr: int | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        extra = environment({"VIDEODISCO_HOME": str(self.folder / f"home-{home}")})
        with subprocess.Popen(
            command(*arguments), cwd=self.folder, env=extra, text=True, stdout=stdout, stderr=stderr
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    # What is on disk.

    def decisions(self, decision: str) -> list[dict[str, Any]]:
        found = [line for path in self.folder.glob("runs/*/decisions.jsonl") for line in lines(path)]
        assert not [line for line in found if "left_out_before" in line]
        return [line for line in found if line["decision"] == decision]

    def answered(self) -> list[str]:
        """Keys in the edge's store, one for each row."""
        return self._keys("home-edge/escalation/results.db", "answers")

    def stored(self) -> list[str]:
        """Keys in the cloud's store, one for each row."""
        return self._keys("home-cloud/cloud/results.db", "results")

    def written(self) -> list[str]:
        """Keys in the edge's files, one for each line."""
        return [line["key"] for path in self.folder.glob("runs/*/refinements.jsonl") for line in lines(path)]

    def waiting(self) -> list[str]:
        payloads = self._column("home-edge/escalation/crops.db", "SELECT payload FROM items")
        return [json.loads(each[4 : 4 + int.from_bytes(each[:4], "big")])["key"] for each in payloads]

    def _keys(self, path: str, table: str) -> list[str]:
        return self._column(path, f"SELECT key FROM {table}")  # noqa: S608 - the table is named above

    def _column(self, path: str, sql: str) -> list[Any]:
        """Read as somebody else would, while it is written."""
        if not (self.folder / path).exists():
            return []
        connection = sqlite3.connect(f"file:{self.folder / path}?mode=ro", uri=True, timeout=10)
        try:
            return [row[0] for row in connection.execute(sql)]
        except sqlite3.OperationalError as exc:
            assert "no such table" in str(exc)
            return []
        finally:
            connection.close()

    def is_away(self) -> bool:
        """Whether the edge has noticed that the cloud is."""
        told = self.told_of_the_cloud()
        return bool(told) and told[-1] != "closed"

    def told_of_the_cloud(self) -> list[str]:
        return [line["cause"] for line in lines(self.run / "decisions.jsonl") if line["decision"] == "cloud"]

    def pace(self, since: float) -> float:
        """Frames a second of the camera that reached the predictions, in the best span since that wall time of which
        nine in ten did; 0 while there was none."""
        rows = lines(self.run / "predictions.jsonl")
        there = [(datetime.fromisoformat(row["time"]).timestamp(), row["frame"]) for row in rows]
        there = [(at, frame) for at, frame in there if at >= since]
        return max((_rate(there[number:]) for number in range(0, len(there), 5)), default=0.0)


def until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come true"
        time.sleep(0.1)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(WAIT_S)


def _rate(there: list[tuple[float, int]]) -> float:
    """Of frames with their times: how many a second within the first span, 0 where that is not over or frames are
    missing."""
    end = there[0][0] + SPAN_S
    frames = [frame for _, frame in takewhile(lambda each: each[0] < end, there)]
    is_whole = len(frames) < len(there) and len(frames) > 0.9 * (frames[-1] - frames[0] + 1)
    return len(frames) / SPAN_S if is_whole else 0.0


@contextmanager
def who_sees_two_crops(folder: Path) -> Iterator[Path]:
    """The configuration of a cloud that asks somebody else, who never says anything of the third crop."""
    seen, over = iter(range(10**6)), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if next(seen) >= 2:
                over.wait(WAIT_S)
                return
            said = b'{"label": "something", "confidence": 0.5}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        config = folder / "two.yaml"
        url = f"http://127.0.0.1:{server.server_port}"
        config.write_text(
            "batches: {max_size: 1, deadline_s: 60}\n"
            f"refiner: {{kind: endpoint, endpoint: {{url: '{url}', connections: 1, timeout_s: 60}}}}\n"
        )
        try:
            yield config
        finally:
            over.set()
            server.shutdown()


def kill_between_answer_and_reply(street: Street) -> None:
    """The reply goes out when the last crop of a request is done. One crop alone tries whether the cloud is back; of
    those that follow together the first is answered and stored, and its reply waits for the others."""
    with who_sees_two_crops(street.folder) as config, street.cloud("--config", str(config)) as cloud:
        known = set(street.stored())
        until(lambda: len(set(street.stored()) - known) == 2)
        kill(cloud)
    until(lambda: street.is_away() and set(street.stored()) - set(street.answered()))


def test_killed_at_the_worst_moments_every_key_is_answered_once_and_the_video_goes_on(
    bikes_clip: Path, tmp_path: Path
) -> None:
    street = Street(tmp_path, bikes_clip)
    with ExitStack() as running:
        cloud = running.enter_context(street.cloud())
        edge = running.enter_context(street.edge())
        until(lambda: len(street.answered()) >= 5)
        before = time.time()
        until(lambda: street.pace(before) > 0)
        pace = street.pace(before)
        kill(cloud)
        away = time.time()
        until(lambda: len(street.waiting()) >= 8 and street.is_away())
        until(lambda: street.pace(away) > 0.8 * pace)
        kill_between_answer_and_reply(street)
        orphans = set(street.stored()) - set(street.answered())
        cloud = running.enter_context(street.cloud())
        until(lambda: not orphans - set(street.answered()) and len(street.waiting()) < 10 and not street.is_away())
        after = time.time()
        until(lambda: street.pace(after) > 0.8 * pace)
        kill(cloud)
        until(lambda: len(street.waiting()) >= 3)
        kill(edge)  # between queue and sending
        left = set(street.waiting())
        assert left
        running.enter_context(street.cloud())
        again = running.enter_context(street.edge("again", classes=["toaster"]))
        until(lambda: not street.waiting() and (street.folder / "runs/again/predictions.jsonl").exists())
        until(lambda: any(row["detections"] for row in lines(street.folder / "runs/again/predictions.jsonl")))
        again.send_signal(signal.SIGTERM)
        assert again.wait(WAIT_S) == EXIT_SIGTERM
    assert left <= set(street.answered())
    asked = [line["key"] for line in street.decisions("send")]
    answered = street.answered()
    assert set(asked) <= set(answered), "nothing that was kept is lost"
    assert len(set(answered) - set(asked)) <= 1, "but the line that the kill was quicker than"
    assert Counter(street.written()) == Counter(answered) == Counter(street.stored()), "each once, everywhere"
    assert set(Counter(answered).values()) == {1}
    assert street.decisions("drop") == []
    assert street.told_of_the_cloud()[:2] == ["open", "closed"]
