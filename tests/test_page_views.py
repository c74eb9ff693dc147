"""Upload, events, numbers, models, zones and the door, used in a real browser against the real service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import pytest

from edge.escalation.figures import Agreement, EscalationFigures
from edge.events.event import Event, EventChange
from edge.events.settings import ChangeType
from tests.page_browser import WAIT_MS, Visit, chromium
from tests.service_runs import Serving, encoded, frame_of

pytestmark = pytest.mark.slow

VIEWER, OPERATOR = "view-token-0123456789", "operate-token-012345"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, bikes_clip: Path, browser: Any) -> Iterator[Serving]:
    street = {"source": str(bikes_clip), "loop": True, "record": {"mode": "events"}, "detect_fps": 8}
    content = {"cameras": {"street": street}, "serve": {"images": {"deadline_s": WAIT_MS / 1e3}}}
    with pytest.MonkeyPatch.context() as patched, Serving(tmp_path_factory.mktemp("views"), content) as running:
        patched.setattr("edge.service.live.SNAPSHOT_WITHIN_S", WAIT_MS / 1e3)
        yield running


@pytest.fixture
def visit(browser: Any, service: Serving) -> Iterator[Visit]:
    with Visit(browser, service.url) as looking:
        yield looking


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory, bikes_clip: Path) -> Path:
    """A street with a man and cars."""
    path = tmp_path_factory.mktemp("pictures") / "man.jpg"
    path.write_bytes(encoded(frame_of(bikes_clip, 40)))
    return path


def short_film(folder: Path, clip: Path) -> Path:
    """The first two seconds of a clip as they are."""
    path = folder / "short.mp4"
    with av.open(str(clip)) as source, av.open(str(path), "w") as film:
        stream = film.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None or packet.pts is None or float(packet.pts * packet.time_base) > 2.0:
                continue
            packet.stream = stream
            film.mux(packet)
    return path


# Upload


def test_the_threshold_works_without_asking_again(visit: Visit, picture: Path) -> None:
    page = visit.go("upload")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/detect" in request.url else None)
    page.set_input_files("#files", [picture])
    page.locator(".upload-canvas").wait_for()
    assert len(asked) == 1
    assert "conf=0.05" in asked[0]
    rows = page.locator(".upload-stage tbody tr")
    usual = rows.count()
    slider = page.get_by_role("slider")
    slider.fill("5")
    many = rows.count()
    slider.fill("95")
    none = rows.count()
    assert many > usual > none
    assert len(asked) == 1
    assert page.locator(".found-words").inner_text() == "nothing found"
    slider.fill("5")
    found = json.loads(page.get_by_label("JSON", exact=True).text_content() or "")
    assert len(found["detections"]) == many
    assert found["model"]["name"].startswith("nanodet")


def test_several_pictures_and_a_film_are_looked_at_and_downloaded(
    visit: Visit, picture: Path, bikes_clip: Path, tmp_path: Path
) -> None:
    page = visit.go("upload")
    film = short_film(tmp_path, bikes_clip)
    page.set_input_files("#files", [picture, film])
    visit.until("() => /^5 pictures looked at/.test(document.querySelector('.head [role=status]').textContent)")
    assert page.locator(".thumb").count() == 5
    page.get_by_role("button", name="short.mp4 at 1.8 s").click()
    page.get_by_role("heading", name="short.mp4 at 1.8 s").wait_for()
    page.get_by_role("button", name="man.jpg").click()
    with page.expect_download() as waited:
        visit.button("Download picture").click()
    annotated = cv2.imread(str(waited.value.path()))
    original = cv2.imread(str(picture))
    assert waited.value.suggested_filename == "man-annotated.jpg"
    assert annotated is not None
    assert original is not None
    assert annotated.shape == original.shape
    changed = cv2.absdiff(annotated, original).max(axis=2) > 60
    assert 0.002 < changed.mean() < 0.2, "boxes, and nothing else"


def test_what_is_no_picture_is_said_so(visit: Visit, tmp_path: Path) -> None:
    page = visit.go("upload")
    wrong = tmp_path / "wrong.jpg"
    wrong.write_bytes(b"no picture at all")
    page.set_input_files("#files", [wrong])
    page.get_by_role("alert").filter(has_text="wrong.jpg: This browser cannot read the picture.").wait_for()


# Events

_COMPLETE = """async () => {
  const { events } = await (await fetch("/events?class=person")).json();
  return events.find((each) => each.clip && each.end_time)?.id;
}"""

_ALL_ZEBRAS = """async () => {
  const { events } = await (await fetch("/events?class=zebra")).json();
  return events.length === 60;
}"""

_PERSONS_ALONE = """() => {
  const shown = [...document.querySelectorAll(".event strong")].map((each) => each.textContent);
  return shown.length > 0 && shown.every((each) => each === "person");
}"""


def test_events_are_filtered_opened_and_played(visit: Visit, service: Serving) -> None:
    page = visit.go("events")
    done = visit.until(_COMPLETE)
    page.get_by_label("Class").fill("person")
    page.get_by_label("Class").press("Enter")
    visit.until(_PERSONS_ALONE)
    page.get_by_label("Class").fill("giraffe")
    page.get_by_label("Class").press("Enter")
    page.get_by_text("Nothing fits these filters.").wait_for()
    parts: list[int] = []
    page.on("response", lambda answer: parts.append(answer.status) if answer.url.endswith("/clip") else None)
    page.goto(f"{service.url}/#/events?event={done}")
    dialog = page.get_by_role("dialog", name="person before street")
    dialog.wait_for()
    visit.until("() => document.querySelector('dialog video')?.readyState >= 2")
    assert page.evaluate("document.querySelector('dialog video').duration") > 0.5
    visit.eventually(lambda: 206 in parts, "the film was given out whole")
    visit.button("Snapshot", dialog).click()
    visit.until("() => document.querySelector('dialog img')?.naturalWidth === 640")
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")


def test_a_clip_that_no_browser_plays_is_said_so_beside_its_picture(visit: Visit, service: Serving) -> None:
    page = visit.go("events")
    done = visit.until(_COMPLETE)
    page.route("**/clip", lambda route: route.fulfill(status=206, body=b"of another century", content_type="video/mp4"))
    page.goto(f"{service.url}/#/events?event={done}")
    dialog = page.get_by_role("dialog", name="person before street")
    dialog.get_by_role("alert").filter(has_text="This browser cannot play what the camera encodes").wait_for()
    dialog.locator("img").wait_for()
    page.unroute("**/clip")
    page.route("**/clip", lambda route: route.fulfill(status=404, body=b""))
    visit.expect_refusal(404)
    visit.button("Clip", dialog).click()
    dialog.get_by_role("alert").filter(has_text="There is no such file any more").wait_for()


def test_events_are_paged(visit: Visit, service: Serving) -> None:
    for number in range(60):
        service.hub.events.publish(EventChange(ChangeType.END, _event(number)))
    page = visit.go("events")
    visit.until(_ALL_ZEBRAS)
    page.get_by_label("Class").fill("zebra")
    page.get_by_label("Class").press("Enter")
    visit.until("() => document.querySelector('.event strong')?.textContent === 'zebra'")
    first = page.locator(".event").first.get_attribute("data-event")
    visit.button("Older").click()
    page.get_by_text("25 to 48, the newest first").wait_for()
    visit.button("Older").click()
    page.get_by_text("49 to 60, the newest first").wait_for()
    assert visit.button("Older").is_disabled()
    visit.button("Newer").click()
    page.get_by_text("25 to 48, the newest first").wait_for()
    visit.button("Newer").click()
    page.get_by_text("1 to 24, the newest first").wait_for()
    assert page.locator(".event").first.get_attribute("data-event") == first


def _event(number: int) -> Event:
    """One of long ago, of which there are no files."""
    box = (1.0, 1.0, 9.0, 9.0)
    start_s = 1.7e9 + number
    return Event(
        id=f"{number:03d}-zebra",
        camera="street",
        class_name="zebra",
        track_id=number,
        sequence=2,
        confidence=0.9,
        box=box,
        latest_confidence=0.9,
        latest_box=box,
        width=640,
        height=272,
        start_s=start_s,
        latest_s=start_s,
        end_s=start_s,
    )


# Numbers


def test_numbers_show_rates_latencies_and_stages(visit: Visit) -> None:
    page = visit.go("numbers")
    page.get_by_role("heading", name="Results a second").wait_for()
    visit.until("async () => (await (await fetch('/cameras/street/figures')).json()).timeline.length > 0")
    visit.until("() => /street \\d+\\.\\d fps/.test(document.querySelector('.chart').getAttribute('aria-label'))")
    visit.until("() => document.querySelector('.chart .series')?.getAttribute('d').startsWith('M')")
    page.get_by_label("Camera").select_option("street")
    stages = page.get_by_role("region", name="Stages since the start")
    stages.get_by_role("cell", name="inference").wait_for()
    page.locator(".counter", has_text="cameras live").locator("b", has_text="1 of 1").wait_for()


def test_everybody_is_led_to_mlflow_where_its_page_is_known(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.run_log.open_journal_at_home", lambda *_: None)
    tokens = [{"name": "screen", "token": VIEWER, "role": "view"}]
    options = {"mlflow": {"enabled": True, "ui_url": "https://runs.example/mlflow"}}
    content = {"serve": {"http": {"tokens": tokens}}}
    with Serving(tmp_path, content, options=options) as service, Visit(browser, service.url) as visit:
        page = visit.go("numbers")
        page.get_by_label("Token").fill(VIEWER)
        page.keyboard.press("Enter")
        assert page.get_by_role("link", name="MLflow").get_attribute("href") == "https://runs.example/mlflow"


def test_how_asking_the_cloud_goes_is_shown_with_its_agreement(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = EscalationFigures(
        decided=1200,
        chosen={"within_band": 40},
        refused={"below_band": 1160},
        refined=30,
        state="open",
        reason="nothing listens at refiner.example",
        agreement={("street", "car"): Agreement(30, 0.8, 0.75)},
    )
    monkeypatch.setattr("edge.cameras.assembly.Assembly.escalation", lambda _assembly: figures)
    page = visit.go("numbers")
    refiner = page.locator(".panel", has=page.get_by_role("heading", name="Refiner", exact=True))
    refiner.get_by_text("nothing listens at refiner.example").wait_for()
    said = refiner.inner_text()
    assert "only reporting" in said
    assert "below band 1,160" in said
    row = page.get_by_role("region", name="Refiner agreement").get_by_role("row").last
    assert row.inner_text().split("\t") == ["street", "car", "75 %", "80 %", "30"]


# Models


def test_a_model_that_is_refused_changes_nothing(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.swap.is_too_slow", lambda new_s, old_s: True)
    monkeypatch.setattr("edge.swap.DOUBTED_FOR_S", 0.0)
    page = visit.go("models")
    page.get_by_label("Model", exact=True).select_option("nanodet-g-416")
    visit.expect_refusal(422)
    visit.button("Take it").click()
    page.locator(".trial.bad", has_text="too slow to take the place").wait_for()
    page.get_by_label("What looks now").get_by_role("heading", name="nanodet-g-416-int8").wait_for()


def test_a_model_is_swapped_and_the_trial_told(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    # How fast this machine is just now is not the question.
    monkeypatch.setattr("edge.swap.is_too_slow", lambda new_s, old_s: False)
    monkeypatch.setattr("edge.cameras.swaps.is_too_slow", lambda new_s, old_s: False)
    page = visit.go("models")
    using = page.get_by_label("What looks now")
    using.get_by_role("heading", name="nanodet-g-416-int8").wait_for()
    assert "80 classes" in using.inner_text()
    page.get_by_label("Model", exact=True).select_option("nanodet-g-416")
    visit.button("Take it").click()
    told = page.locator(".trial").inner_text()
    assert "street: nanodet-g-416-int8 gave way to nanodet-g-416" in told
    assert "ms before" in told
    using.get_by_role("heading", name="nanodet-g-416", exact=True).wait_for()


# Zones


def test_a_zone_and_a_line_are_drawn_named_and_saved(visit: Visit, service: Serving) -> None:
    page = visit.go("zones/street")
    stage = page.locator(".zone-stage:not(.blank)")
    stage.wait_for()
    box = stage.bounding_box()
    assert box is not None

    def click(x: float, y: float) -> None:
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])

    visit.button("Draw a zone").click()
    for corner in ((0.2, 0.3), (0.6, 0.3), (0.6, 0.8), (0.2, 0.8), (0.2, 0.3)):
        click(*corner)
    page.get_by_label("Name").fill("yard")
    page.get_by_label("Classes").fill("person, car")
    page.get_by_label("Stay at least (s)").fill("2.5")
    visit.button("Draw a line").click()
    click(0.1, 0.9)
    click(0.9, 0.5)
    page.get_by_label("Name").fill("gate")
    page.get_by_role("button", name="Corner 2 of gate").focus()
    for _ in range(2):
        page.keyboard.press("Shift+ArrowUp")
    visit.button("Save").click()
    visit.noticed("1 zone and 1 line of street")
    saved = service.call(lambda: service.hub.running.listed["street"])
    zone, line = saved.zones[0], saved.lines[0]
    assert (zone.name, zone.classes, zone.loitering_s, zone.inertia_frames) == ("yard", ("person", "car"), 2.5, 3)
    for point, wanted in zip(zone.points, ((0.2, 0.3), (0.6, 0.3), (0.6, 0.8), (0.2, 0.8)), strict=True):
        assert point == pytest.approx(wanted, abs=0.005)
    assert (*line.start, *line.end) == pytest.approx((0.1, 0.9, 0.9, 0.4), abs=0.005)
    visit.go("upload")
    visit.go("zones/street")
    page.locator(".zone-item", has_text="yard").wait_for()
    assert visit.button("Save").is_disabled()


def test_drawing_ends_without_a_keyboard_and_is_not_lost_by_leaving(visit: Visit) -> None:
    page = visit.go("zones/street")
    stage = page.locator(".zone-stage:not(.blank)")
    stage.wait_for()
    box = stage.bounding_box()
    assert box is not None
    many = page.locator(".zone-item").count()
    visit.button("Draw a zone").click()
    visit.button("Finish").click()
    page.get_by_role("status").filter(has_text="three corners or more").wait_for()
    for x, y in ((0.3, 0.3), (0.5, 0.3), (0.5, 0.6)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    visit.button("Finish").click()
    page.get_by_label("Name").fill("by touch")
    assert page.locator(".zone-item").count() == many + 1
    page.get_by_role("link", name="Events").click()
    dialog = page.get_by_role("dialog", name="Leave without saving?")
    visit.button("Cancel", dialog).click()
    page.wait_for_url("**#/zones/street")  # the address is put back once the dialog has gone
    page.locator(".zone-item", has_text="by touch").wait_for()
    page.get_by_role("link", name="Events").click()
    visit.button("Leave", dialog).click()
    page.get_by_role("heading", name="Events", level=1).wait_for()


def test_a_zone_is_drawn_and_moved_by_keys_alone(visit: Visit, service: Serving) -> None:
    page = visit.go("zones/street")
    page.locator(".zone-stage:not(.blank)").wait_for()
    visit.button("Draw a zone").press("Enter")
    for keys in ((), ("Shift+ArrowRight",) * 4, ("Shift+ArrowDown",) * 4):
        for key in keys:
            page.keyboard.press(key)
        page.keyboard.press(" ")
    page.keyboard.press("Enter")
    page.get_by_label("Name").fill("by keys")
    visit.button("Save").click()
    visit.noticed("of street hold until the service ends")
    zones = service.call(lambda: service.hub.running.listed["street"]).zones
    drawn = next(zone for zone in zones if zone.name == "by keys")
    assert drawn.points == ((0.5, 0.5), (0.7, 0.5), (0.7, 0.7))


# The door


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Serving]:
    tokens = [
        {"name": "screen", "token": VIEWER, "role": "view"},
        {"name": "guard", "token": OPERATOR, "role": "operate"},
    ]
    project = tmp_path_factory.mktemp("door")
    with Serving(project, {"serve": {"http": {"tokens": tokens}}}) as running:
        yield running


def test_whoever_comes_has_to_log_in(browser: Any, closed: Serving) -> None:
    with Visit(browser, closed.url) as visit:
        page = visit.go("live")
        page.get_by_role("heading", name="Log in").wait_for()
        assert page.evaluate("document.activeElement.type") == "password"
        page.get_by_label("Token").fill("wrong-token-0123456789")
        visit.expect_refusal(401)
        visit.button("Log in").click()
        page.get_by_role("alert").filter(has_text="not known here").wait_for()
        page.get_by_label("Token").fill(VIEWER)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Live").wait_for()
        page.get_by_text("screen (view)").wait_for()
        page.get_by_text("Somebody with the role operate can add one.").wait_for()
        assert not visit.button("Add camera").count(), "who may only look is offered nothing else"
        visit.button("Log out").click()
        page.get_by_role("heading", name="Log in").wait_for()


def test_an_operator_is_offered_more_and_a_lost_session_asks_again(browser: Any, closed: Serving) -> None:
    with Visit(browser, closed.url) as visit:
        page = visit.go("live")
        page.get_by_label("Token").fill(OPERATOR)
        page.keyboard.press("Enter")
        visit.button("Add camera").first.wait_for()
        visit.expect_refusal(401)
        visit.context.clear_cookies()
        page.get_by_role("heading", name="Log in").wait_for()
