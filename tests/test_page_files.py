"""The page's files: small, whole, of our own, and readable in both themes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge.page.page import PAGE
from stream.http.pages import page_endpoints

STATIC = Path(__file__).parent.parent / "edge" / "page" / "static"
FILES = sorted(path for path in STATIC.rglob("*") if path.is_file())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
STYLES = "\n".join(path.read_text() for path in FILES if path.suffix == ".css")
BUDGET_BYTES = 300_000

GROUNDS = ("ground", "panel", "raised")
PAIRS = [
    *((text, ground) for text in ("ink", "soft") for ground in (*GROUNDS, "tint")),
    *(("accent", ground) for ground in ("ground", "panel", "tint")),
    *(("bad", ground) for ground in ("ground", "panel")),
    *((state, f"{state}-tint") for state in ("good", "warn", "bad")),
    ("on-accent", "accent"),
    ("ink", "good-tint"),
    ("ink", "bad-tint"),
]


def test_all_of_it_is_small_and_served() -> None:
    assert sum(path.stat().st_size for path in FILES) < BUDGET_BYTES
    served = {endpoint.path for endpoint in page_endpoints(PAGE)}
    assert served == {f"/{path.relative_to(STATIC).as_posix()}" for path in FILES} | {"/"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere_or_runs_inline(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    addresses = re.findall(r"https?://[^\s\"'`)]*", text)
    assert set(addresses) <= {"http://www.w3.org/2000/svg", "http://"}, addresses
    assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval)\b|new Function", text)
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\son\w+=", text)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_modules_find_each_other(path: Path) -> None:
    for name in re.findall(r"(?:from|import\()\s*\"\./([\w.]+)\"", path.read_text()):
        assert (path.parent / name).is_file(), f"{path.name} imports {name}"


def test_icons_and_files_that_are_named_are_there() -> None:
    drawn = set(re.findall(r"<symbol id=\"(\w+)\"", (STATIC / "page" / "icons.svg").read_text()))
    code = "\n".join(path.read_text() for path in SCRIPTS)
    used = set(re.findall(r"icon(?:\(|: )\"(\w+)\"", code))
    assert used
    assert used <= drawn
    for address in re.findall(r"(?:href|src)=\"(/page/[\w.]+)\"", (STATIC / "index.html").read_text()):
        assert (STATIC / address.lstrip("/")).is_file(), address


def colours() -> dict[str, tuple[str, str]]:
    """Each colour by its name: light and dark."""
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", STYLES)
    return {name: (light, dark) for name, light, dark in found}


def luminance(colour: str) -> float:
    """WCAG's relative luminance of ``#rrggbb``."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_counted_as_wcag_counts_it() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS, ids="-on-".join)
def test_text_can_be_read(text: str, ground: str, theme: int) -> None:
    known = colours()
    assert contrast(known[text][theme], known[ground][theme]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_edges_of_controls_and_lines_of_charts_can_be_seen(theme: int) -> None:
    known = colours()
    for ground in ("ground", "panel"):
        assert contrast(known["edge"][theme], known[ground][theme]) >= 3
    series = re.findall(r"--series: light-dark\((#\w{6}), (#\w{6})\)", STYLES)
    assert len(series) == 8
    for each in series:
        assert contrast(each[theme], known["panel"][theme]) >= 3
