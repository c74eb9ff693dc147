"""Live pictures in a real browser: boxes on their own picture, cameras that are away, and what can be done to them."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.page_browser import PHONE, WAIT_MS, Visit, chromium
from tests.service_runs import Serving

pytestmark = pytest.mark.slow

NOBODY = "rtsp://127.0.0.1:9/nobody"
ZONE = {"name": "yard", "points": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]}

# What is on the canvas, and of which frame it is: read at once, so that nothing can be drawn in between.
_ON_CANVAS = """
() => {
  const canvas = document.querySelector(".stage canvas");
  if (!canvas.dataset.frame || !canvas.width) return null;
  return { frame: Number(canvas.dataset.frame), png: canvas.toDataURL("image/png").split(",")[1] };
}
"""


# Whether the absent camera's tile says that it is away since then, give or take a second.
_SHOWN_SINCE = """
async (sinceMs) => {
  const { moment } = await import("/page/format.js");
  const shown = document.querySelector('.tile[data-camera="gate"] .veil-for')?.textContent;
  return [-1000, 0, 1000].some((apart) => shown === `since ${moment(new Date(sinceMs + apart))}`);
}
"""

_FOCUSED = """
(text) => document.activeElement?.textContent === text && !document.activeElement.disabled
"""

# All that the absent camera's tile says of its state from now on.
_REMEMBER_PILLS = """
() => {
  const pill = document.querySelector('.tile[data-camera="gate"] .pill');
  window.pills = new Set([pill.textContent]);
  const seen = new MutationObserver(() => window.pills.add(pill.textContent));
  seen.observe(pill, { childList: true, characterData: true, subtree: true });
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, bikes_clip: Path, browser: Any) -> Iterator[Serving]:
    content = {
        "cameras": {
            "street": {"source": str(bikes_clip), "loop": True, "zones": [ZONE], "detect_fps": 8},
            "gate": {"source": NOBODY},
        },
        "serve": {"camera_sources": {"folders": [str(bikes_clip.parent)]}, "live": {"fps": 10}},
    }
    with pytest.MonkeyPatch.context() as patched, Serving(tmp_path_factory.mktemp("live"), content) as running:
        patched.setattr("edge.service.live.SNAPSHOT_WITHIN_S", WAIT_MS / 1e3)
        yield running


@pytest.fixture
def visit(browser: Any, service: Serving) -> Iterator[Visit]:
    with Visit(browser, service.url) as looking:
        yield looking


class Heard:
    """What came through the live socket, by frame: the line, and its JPEG."""

    def __init__(self, visit: Visit) -> None:
        self.messages: dict[int, tuple[dict[str, Any], bytes]] = {}
        visit.page.on("websocket", lambda socket: socket.on("framereceived", self._take))

    def _take(self, payload: bytes | str) -> None:
        if isinstance(payload, bytes):
            length = int.from_bytes(payload[:4], "big")
            line = json.loads(payload[4 : 4 + length])
            self.messages[line["frame"]] = line, payload[4 + length :]

    def picture(self, frame: int, size: tuple[int, int]) -> NDArray[np.float64]:
        jpeg = cv2.imdecode(np.frombuffer(self.messages[frame][1], np.uint8), cv2.IMREAD_COLOR)
        assert jpeg is not None
        return cv2.resize(jpeg, size, interpolation=cv2.INTER_AREA).astype(np.float64)


def on_canvas(visit: Visit) -> tuple[int, NDArray[np.uint8]]:
    """The frame that is shown, and the pixels, BGR."""
    shown = visit.until(_ON_CANVAS)
    data = np.frombuffer(base64.b64decode(shown["png"]), np.uint8)
    return shown["frame"], np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def drawn_share(apart: NDArray[np.float64], bbox: list[float], scale: float) -> float:
    """How much of a box's edge differs from the picture without it; ``apart`` is the difference by pixel."""
    x1, y1, x2, y2 = (round(value * scale) for value in bbox)
    height, width = apart.shape
    across = [(x, y) for x in range(x1, x2) for y in (y1, y2)]
    down = [(x, y) for y in range(y1, y2) for x in (x1, x2)]
    inside = [(x, y) for x, y in across + down if 1 <= x < width - 1 and 1 <= y < height - 1]
    return float(np.mean([apart[y - 1 : y + 2, x - 1 : x + 2].max() > 30 for x, y in inside]))


def test_boxes_are_drawn_on_the_picture_that_they_were_found_in(visit: Visit) -> None:
    heard = Heard(visit)
    page = visit.go("live/street")
    for layer in ("Labels", "Tracks", "Zones"):
        page.get_by_role("switch", name=layer).uncheck()
    switched_at, _ = on_canvas(visit)
    checked: set[int] = set()
    deadline_s = time.monotonic() + WAIT_MS / 1e3
    while len(checked) < 5:
        assert time.monotonic() < deadline_s, checked
        frame, pixels = on_canvas(visit)
        page.wait_for_timeout(60)
        if frame <= switched_at or frame not in heard.messages:
            continue
        line = heard.messages[frame][0]
        scale = pixels.shape[1] / line["width"]
        sure = [each for each in line["detections"] if not line.get("carried")]
        others = [each for each in heard.messages if 10 < abs(each - frame) < 40]
        if not sure or not others:
            continue
        size = (pixels.shape[1], pixels.shape[0])
        apart = {each: np.abs(heard.picture(each, size) - pixels).mean() for each in (frame, *others[:5])}
        assert min(apart, key=lambda each: apart[each]) == frame, apart
        drawn = np.abs(heard.picture(frame, size) - pixels).max(axis=2)
        for found in sure:
            assert drawn_share(drawn, found["bbox"], scale) > 0.8, (frame, found)
        checked.add(frame)
    visit.keep_picture("live-street_with-boxes")


def test_layers_can_be_switched_and_are_remembered(visit: Visit) -> None:
    visit.expected.append("willReadFrequently")  # said of this test's own reading
    page = visit.go("live/street")
    zones = page.get_by_role("switch", name="Zones")
    assert zones.is_checked()
    # Boxes may cover the zone's edge for a while, so it is waited for.
    yellow = """(wanted) => {
      const canvas = document.querySelector(".stage canvas");
      if (!canvas.dataset.frame) return false;
      const [y, from] = [Math.round(canvas.height * 0.9), Math.round(canvas.width * 0.2)];
      const data = canvas.getContext("2d").getImageData(from, y, Math.round(canvas.width * 0.6), 1).data;
      let many = 0;
      for (let at = 0; at < data.length; at += 4) {
        many += data[at] - data[at + 2] > 60 && data[at + 1] - data[at + 2] > 60;
      }
      return (many > data.length / 4 / 2) === wanted;
    }"""
    for other in ("Boxes", "Tracks"):
        page.get_by_role("switch", name=other).uncheck()
    visit.until(yellow, True)
    zones.uncheck()
    visit.until(yellow, False)
    visit.go("upload")
    visit.go("live/street")
    assert not page.get_by_role("switch", name="Zones").is_checked()


def test_all_cameras_are_tiles_with_state_rate_and_age(visit: Visit) -> None:
    page = visit.go("live")
    street, gate = (page.locator(f'.tile[data-camera="{name}"]') for name in ("street", "gate"))
    street.locator(".pill.good", has_text="Live").wait_for()
    visit.until("() => /\\d+\\.\\d fps · \\d+\\.\\d s old/.test(document.querySelector('.tile-figures').textContent)")
    visit.until("() => document.querySelector('.tile.has-picture')?.dataset.camera === 'street'")
    gate.locator(".pill.bad", has_text="Offline").wait_for()
    assert "dim" in str(gate.get_attribute("class"))
    assert "nothing listens at 127.0.0.1:9" in gate.locator(".veil").inner_text()
    assert re.fullmatch(r"since \d\d:\d\d:\d\d", gate.locator(".veil-for").inner_text())
    page.get_by_text("1 of 2 cameras live").wait_for()
    visit.keep_picture("live_with-pictures")


def test_who_comes_later_sees_since_when_a_camera_is_away(browser: Any, service: Serving) -> None:
    def standing() -> Any:
        return service.call(lambda: {"now_s": time.time(), **service.hub.standing("gate", time.monotonic())})

    def tried_s() -> float:
        """When its state last changed, of the wall clock: each attempt to reach it does that."""
        now = standing()
        return float(now["now_s"] - now["state_s"])

    with Visit(browser, service.url) as first, Visit(browser, service.url) as later:
        first.go("live").locator('.tile[data-camera="gate"] .pill.bad', has_text="Offline").wait_for()
        first.page.evaluate(_REMEMBER_PILLS)
        now = standing()
        since_ms, former_s = (now["now_s"] - now["away_s"]) * 1e3, tried_s()
        first.until(_SHOWN_SINCE, since_ms)
        first.eventually(lambda: tried_s() > former_s + 0.5, "it is not tried again")
        later.go("live").locator('.tile[data-camera="gate"] .pill.bad', has_text="Offline").wait_for()
        for visit in (first, later):
            visit.until(_SHOWN_SINCE, since_ms)
        assert first.page.evaluate("[...window.pills]") == ["Offline"], "however often it is tried"


def test_tiles_ask_for_pictures_of_their_size(visit: Visit) -> None:
    asked: list[str] = []
    visit.page.on("websocket", lambda socket: asked.append(socket.url))
    page = visit.go("live")
    page.locator('.tile.has-picture[data-camera="street"]').wait_for()

    def fits() -> bool:
        tile = page.locator('.tile[data-camera="street"] canvas').bounding_box()
        assert tile is not None
        widths = [int(re.findall(r"width=(\d+)", each)[0]) for each in asked if "/street/" in each]
        return tile["width"] <= widths[-1] < tile["width"] + 160

    visit.eventually(fits, "it asked for pictures of another size")


def test_a_camera_is_recorded_by_hand_played_and_downloaded(visit: Visit) -> None:
    page = visit.go("live/street")
    page.locator(".pill.good").wait_for()
    record = visit.button("Record")
    record.press("Enter")
    stop = visit.button("Stop recording")
    stop.wait_for()
    visit.until(_FOCUSED, "Stop recording")
    page.get_by_text("yes, by hand").wait_for()
    page.get_by_role("list", name="Last recordings").get_by_text("being written").wait_for()
    stop.click()
    visit.button("Record").wait_for()
    page.locator(".kept").get_by_text("by hand").first.wait_for()
    visit.until("() => !document.querySelector('.kept').textContent.includes('being written')")
    page.locator(".kept button").last.click()
    visit.until("() => document.querySelector('dialog video')?.readyState >= 2")
    with page.expect_download() as waited:
        page.get_by_role("dialog").get_by_role("link", name="Download").click()
    assert waited.value.suggested_filename.startswith("street ")
    assert Path(waited.value.path()).read_bytes()[4:8] == b"ftyp"
    page.keyboard.press("Escape")
    with page.expect_download() as waited:
        page.get_by_role("link", name="Snapshot").click()
    assert re.fullmatch(r"street \d{4}-\d\d-\d\dT[\d-]{8}\.jpg", waited.value.suggested_filename)
    assert Path(waited.value.path()).read_bytes()[:2] == b"\xff\xd8"


def test_pausing_keeps_the_keyboard_where_it_is(visit: Visit) -> None:
    page = visit.go("live/street")
    page.locator(".pill.good").wait_for()
    visit.button("Pause").press("Enter")
    page.locator(".pill", has_text="Paused").wait_for()
    visit.until(_FOCUSED, "Resume")
    assert not visit.button("Record").is_visible(), "there is nothing to record"
    page.keyboard.press("Enter")
    page.locator(".pill.good").wait_for()


def test_a_camera_opens_by_the_keyboard_and_tells_how_it_is(visit: Visit) -> None:
    page = visit.go("live")
    page.get_by_role("link", name="gate").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="gate", level=1).wait_for()
    visit.until(_FOCUSED, "gate")  # the focus goes to the new view's heading
    story = page.locator('[aria-live="polite"]', has_text="Offline since")
    story.wait_for()
    assert "nothing listens at 127.0.0.1:9" in story.inner_text()
    page.locator(".stage .veil").wait_for()
    page.keyboard.press("ArrowRight")
    page.get_by_role("heading", name="street", level=1).wait_for()


def test_a_camera_that_goes_away_is_dimmed_and_says_so_aloud(visit: Visit) -> None:
    page = visit.go("live")
    street = page.locator('.tile[data-camera="street"]')
    street.locator(".pill.good").wait_for()
    visit.button("Pause street").click()
    street.locator(".pill", has_text="Paused").wait_for()
    assert "dim" in str(street.get_attribute("class"))
    said = page.locator('[role="status"]', has_text="street: Paused since")
    said.wait_for(state="attached")
    visit.button("Resume street").click()
    street.locator(".pill.good").wait_for()


def test_a_camera_is_added_refused_and_removed(visit: Visit, bikes_clip: Path) -> None:
    page = visit.go("live")
    visit.button("Add camera").click()
    dialog = page.get_by_role("dialog", name="Add a camera")
    visit.until("() => document.activeElement.labels?.[0]?.textContent === 'Name'")
    dialog.get_by_label("Name").fill("yard")
    dialog.get_by_label("Address").fill("http://169.254.169.254/latest")
    visit.expect_refusal(422)
    visit.button("Add", dialog).click()
    dialog.get_by_role("alert").filter(has_text="refused").wait_for()
    dialog.get_by_label("Address").fill(str(bikes_clip))
    visit.button("Add", dialog).click()
    dialog.wait_for(state="detached")
    tile = page.locator('.tile[data-camera="yard"]')
    tile.wait_for()
    page.get_by_role("link", name="yard").click()
    page.get_by_role("heading", name="yard", level=1).wait_for()
    visit.button("Remove").click()
    visit.button("Remove", page.get_by_role("dialog")).click()
    page.get_by_role("heading", name="Live", level=1).wait_for()
    tile.wait_for(state="detached")


def test_nobody_knows_how_cameras_are_while_the_service_is_away(visit: Visit) -> None:
    page = visit.go("live")
    pill = page.locator('.tile[data-camera="street"] .pill')
    visit.until("""() => document.querySelector('.tile[data-camera="street"] .pill')?.textContent === "Live" """)
    top = page.locator("main h1").bounding_box()
    visit.expected.append("ERR_FAILED")
    visit.context.route("**/cameras", lambda route: route.abort())
    visit.until("""() => document.querySelector('.tile[data-camera="street"] .pill').textContent === "Unknown" """)
    tile = page.locator('.tile[data-camera="street"]')
    assert "The service cannot be reached." in tile.inner_text()
    assert "fps" not in tile.inner_text()
    banner, below = page.locator("#lost").bounding_box(), page.locator("main h1").bounding_box()
    assert banner
    assert top
    assert below
    assert banner["y"] + banner["height"] <= below["y"], "the line lies over nothing"
    visit.context.unroute("**/cameras")
    visit.until("""() => document.querySelector('.tile[data-camera="street"] .pill').textContent === "Live" """)
    assert pill.is_visible()


def test_a_camera_that_nobody_knows_is_said_so_and_not_asked_for(visit: Visit) -> None:
    asked: list[str] = []
    visit.page.on("websocket", lambda socket: asked.append(socket.url))
    page = visit.go("live/nobody")
    page.get_by_role("heading", name="There is no camera of this name").wait_for()
    page.get_by_role("link", name="All cameras").focus()
    for _ in range(2):
        with page.expect_response("**/cameras"):
            pass
    assert page.evaluate("document.activeElement.textContent") == "All cameras", "who is about to leave can"
    assert asked == []


def test_a_wrong_address_is_corrected(visit: Visit, bikes_clip: Path) -> None:
    page = visit.go("live")
    visit.button("Add camera").click()
    page.get_by_label("Name").fill("typo")
    page.get_by_label("Address").fill("rtsp://u:secret@192.0.2.1/strem")
    page.get_by_role("dialog").get_by_role("button", name="Add", exact=True).click()
    page.locator('.tile[data-camera="typo"]').wait_for()
    visit.go("live/typo")
    page.get_by_role("button", name="Change the address").click()
    address = page.get_by_role("dialog").get_by_label("Address")
    assert address.input_value() == "rtsp://***@192.0.2.1/strem"
    address.fill("rtsp://***@198.51.100.7/stream")
    visit.expect_refusal(400)
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    page.get_by_role("dialog").get_by_role("alert").filter(has_text="again").wait_for()
    address.fill(str(bikes_clip))
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    page.get_by_role("dialog").wait_for(state="hidden")
    visit.until("""() => document.querySelector("h1 ~ .pill, .head .pill")?.textContent === "Live" """)
    visit.button("Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    page.locator('.tile[data-camera="typo"]').wait_for(state="detached")


def test_the_page_comes_up_again_out_of_the_browsers_cache(visit: Visit) -> None:
    page = visit.go("live")
    page.reload()
    page.get_by_role("heading", name="Live", level=1).wait_for()


def test_nothing_is_sent_while_nobody_looks(visit: Visit, service: Serving) -> None:
    page = visit.go("live")
    visit.until("() => document.querySelector('.tile.has-picture')")

    def viewers() -> int:
        return service.call(lambda: service.hub.feeds.of("street").viewers)

    visit.eventually(lambda: viewers() == 1, "somebody else looks as well")
    page.evaluate("location.hash = '#/upload'")
    page.get_by_role("heading", name="Upload").wait_for()
    visit.eventually(lambda: viewers() == 0, "the socket stays open")


def test_tiles_fit_a_phone(browser: Any, service: Serving) -> None:
    with Visit(browser, service.url, size=PHONE, has_touch=True, is_mobile=True) as visit:
        page = visit.go("live")
        page.locator(".tile").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        boxes = [box for box in (tile.bounding_box() for tile in page.locator(".tile").all()) if box]
        assert len(boxes) == 2
        assert all(box["width"] > 340 for box in boxes)
        nav = page.locator("#nav").bounding_box()
        assert nav is not None
        assert nav["y"] + nav["height"] == pytest.approx(PHONE[1], abs=1), "the views are at the thumb"
