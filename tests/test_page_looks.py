"""What everybody needs of the page: readable text, names for controls, an order of the keyboard, room on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.page_browser import PHONE, PICTURES, WIDE, Visit, chromium
from tests.service_runs import Serving, encoded, frame_of

pytestmark = pytest.mark.slow

# Every view, and what is there once it is all there.
PLACES = {
    "live": '.tile[data-camera="hall"]',
    "live/gate": ".facts dd",
    "upload": ".upload-canvas",
    "events": ".gallery li",
    "numbers": ".numbers-below table, .numbers-below p",
    "models": ".models h3",
    "zones/gate": '[role="status"]:text("Zones can be drawn all the same.")',
}
LARGEST_LOAD_BYTES = 300_000

SIZES = {WIDE: "wide", PHONE: "phone"}
SCHEMES = [("light", WIDE), ("dark", PHONE)]
if PICTURES:
    SCHEMES += [("light", PHONE), ("dark", WIDE)]

# Every visible text with less contrast to what lies under it than WCAG's AA asks for. Pictures count as their veil's
# colour over black or white, whichever is worse.
_FAINT = """
() => {
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    probe.clearRect(0, 0, 1, 1);
    probe.fillStyle = colour;
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = probe.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((at) => top[at] * top[3] + under[at] * (1 - top[3]));
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const grounds = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const ground = rgba(getComputedStyle(at).backgroundColor);
      if (ground[3] > 0) layers.push(ground);
      if (ground[3] === 1) break;
    }
    const bottoms = layers.at(-1)?.[3] === 1 ? [layers.pop().slice(0, 3)] : [[0, 0, 0], [255, 255, 255]];
    return bottoms.map((bottom) => layers.reduceRight((under, top) => over(top, under), bottom));
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const node = walker.currentNode.parentElement;
    const left = !text || node.closest(":disabled, .unseen, noscript, option");
    if (left || !node.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(node);
    const ink = rgba(node instanceof SVGElement ? style.fill : style.color);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const found = Math.min(...grounds(node).map((ground) => contrast(over(ink, ground), ground)));
    if (found < needed) faint.push(`${text.slice(0, 40)}: ${found.toFixed(2)}`);
  }
  return faint;
}
"""

# Controls that a screen reader could only call "button".
_NAMELESS = """
() => [...document.querySelectorAll("a[href], button, input, select, [role=button], [role=img], img, video, dialog")]
  .filter((node) => node.checkVisibility() && !node.closest("[aria-hidden=true]"))
  .filter((node) => {
    const said = [node.getAttribute("aria-label"), node.textContent, node.getAttribute("title"),
      ...[...(node.labels ?? [])].map((label) => label.textContent),
      document.getElementById(node.getAttribute("aria-labelledby"))?.textContent];
    return node.tagName === "IMG" ? !node.hasAttribute("alt") : !said.some((each) => each?.trim());
  })
  .map((node) => node.outerHTML.slice(0, 120))
"""

# What has the focus: what it is called, where it is, and whether one sees that it has the focus.
_FOCUSED = """
() => {
  const node = document.activeElement;
  const seen = node.matches(".tile-open") ? node.closest(".tile") : node;
  const box = seen.getBoundingClientRect();
  const style = getComputedStyle(seen);
  return {
    name: (node.getAttribute("aria-label") || node.labels?.[0]?.textContent || node.textContent).trim(),
    shown: box.width > 0 && box.height > 0,
    ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    body: node === document.body,
  };
}
"""


# Whether nothing moves or fades just now; what turns for ever while something is awaited does not count.
_STILL = """
() => document.getAnimations().every((each) => {
  return each.playState !== "running" || each.effect.getComputedTiming().endTime === Infinity;
})
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, bikes_clip: Path, browser: Any) -> Iterator[Serving]:
    content = {
        "cameras": {
            "gate": {"source": "rtsp://127.0.0.1:9/nobody"},
            "hall": {"source": str(bikes_clip), "paused": True},
        }
    }
    with pytest.MonkeyPatch.context() as patched, Serving(tmp_path_factory.mktemp("looks"), content) as running:
        patched.setattr("edge.service.live.SNAPSHOT_WITHIN_S", 0.1)  # none of them has a picture
        yield running


@pytest.fixture(scope="module")
def closed_service(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Serving]:
    tokens = [{"name": "screen", "token": "nobody-here-shows-this-one", "role": "view"}]
    with Serving(tmp_path_factory.mktemp("closed"), {"serve": {"http": {"tokens": tokens}}}) as running:
        yield running


@pytest.mark.parametrize(("theme", "size"), SCHEMES, ids=lambda value: SIZES.get(value, value))
def test_every_view_can_be_read_named_and_fits(
    browser: Any, service: Serving, theme: str, size: tuple[int, int], tmp_path: Path, bikes_clip: Path
) -> None:
    picture = tmp_path / "man.jpg"
    picture.write_bytes(encoded(frame_of(bikes_clip, 40)))
    with Visit(browser, service.url, size=size, color_scheme=theme) as visit:
        visit.expect_refusal(503)  # the zones' picture of a camera that is away
        for place, whole in PLACES.items():
            page = visit.go(place)
            if place == "upload":
                page.set_input_files("#files", [picture])
            page.locator(whole).first.wait_for()
            _look_through(visit, f"{place.replace('/', '-')}_{theme}_{SIZES[size]}", width_px=size[0])


@pytest.mark.parametrize(("theme", "size"), SCHEMES, ids=lambda value: SIZES.get(value, value))
def test_who_has_to_log_in_can_read_where(
    browser: Any, closed_service: Serving, theme: str, size: tuple[int, int]
) -> None:
    with Visit(browser, closed_service.url, size=size, color_scheme=theme) as visit:
        visit.go("live").get_by_role("heading", name="Log in").wait_for()
        _look_through(visit, f"login_{theme}_{SIZES[size]}", width_px=size[0])


def _look_through(visit: Visit, name: str, *, width_px: int) -> None:
    page = visit.page
    visit.until(_STILL)
    visit.keep_picture(name)
    assert page.evaluate(_FAINT) == [], name
    assert page.evaluate(_NAMELESS) == [], name
    assert page.evaluate("document.documentElement.scrollWidth") <= width_px, name
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.title").endswith(" · VideoDisco")


def test_the_keyboard_goes_through_the_page_in_order(browser: Any, service: Serving) -> None:
    with Visit(browser, service.url) as visit:
        page = visit.go("live")
        page.locator('.tile[data-camera="gate"]').wait_for()
        names = []
        for _ in range(16):
            page.keyboard.press("Tab")
            focused = page.evaluate(_FOCUSED)
            if focused["body"]:
                break
            assert focused["shown"], focused
            assert focused["ring"], focused
            names.append(focused["name"])
        views = ["Live", "Upload", "Events", "Numbers", "Models", "Zones"]
        assert names[:9] == ["Skip to content", "VideoDisco", *views, "Theme: as the system"]
        assert names[9:] == ["Fill the screen", "Add camera", "gate", "Pause gate", "hall", "Resume hall"]


def test_the_way_past_the_views_leads_to_the_content(browser: Any, service: Serving) -> None:
    with Visit(browser, service.url) as visit:
        page = visit.go("live")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        visit.until("() => document.activeElement.id === 'main'")


def test_a_dialog_keeps_the_focus_and_gives_it_back(browser: Any, service: Serving) -> None:
    with Visit(browser, service.url) as visit:
        page = visit.go("live")
        visit.button("Add camera").press("Enter")
        page.get_by_role("dialog").wait_for()
        for _ in range(8):
            page.keyboard.press("Tab")
            assert page.evaluate(
                "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
            )
        page.keyboard.press("Escape")
        page.get_by_role("dialog").wait_for(state="detached")
        visit.until("() => document.activeElement.textContent === 'Add camera'")


def test_the_theme_is_chosen_and_kept(browser: Any, service: Serving) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with Visit(browser, service.url, color_scheme="dark") as visit:
        page = visit.go("live")
        dark = page.evaluate(ground)
        visit.button("Theme: as the system").click()
        visit.until(f"(dark) => {ground} !== dark", dark)
        visit.button("Theme: light").click()
        visit.until(f"(dark) => {ground} === dark", dark)
        visit.button("Theme: dark").wait_for()
        assert page.evaluate("localStorage.getItem('videodisco.theme')") == "dark"


def test_the_first_view_loads_little_and_from_here_alone(browser: Any, service: Serving) -> None:
    with Visit(browser, service.url) as visit:
        loaded: dict[str, int] = {}
        visit.page.on(
            "response", lambda answer: loaded.update({answer.url: int(answer.headers.get("content-length", "0"))})
        )
        page = visit.go("live")
        page.locator(".tile").first.wait_for()
        assert all(address.startswith(service.url) for address in loaded)
        assert sum(loaded.values()) < LARGEST_LOAD_BYTES
        policy = visit.context.request.get(service.url).headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy


def test_a_service_that_goes_away_is_said_and_comes_back(browser: Any, service: Serving) -> None:
    with Visit(browser, service.url) as visit:
        page = visit.go("live")
        page.locator(".tile").first.wait_for()
        visit.expected.append("net::ERR_INTERNET_DISCONNECTED")
        visit.context.set_offline(True)
        page.get_by_role("status").filter(has_text="The service cannot be reached").wait_for()
        visit.context.set_offline(False)
        visit.noticed("The service is back.")
