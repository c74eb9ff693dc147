"""A real Chromium that looks at the page of a real service, and everything it complains of."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.conftest import missing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = Path("/usr/bin/chromium")
WAIT_MS = 60_000
PICTURES = os.environ.get("VIDEODISCO_PICTURES")
"""The folder for pictures of the page, where somebody wants to look at them."""

WIDE, PHONE = (1280, 800), (390, 844)

_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI || event.sample}`);
});
// What is said in passing is gone after some seconds; here it is kept.
window.noticed = [];
new MutationObserver((changes) => {
  for (const node of changes.flatMap(({ addedNodes }) => [...addedNodes])) {
    if (node.matches?.(".notice")) window.noticed.push(node.textContent);
  }
}).observe(document, { childList: true, subtree: true });
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; the test is skipped where there is none. No loop can be run on this thread meanwhile."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        missing("playwright", "pip install playwright")
    if not CHROMIUM.exists():
        missing(str(CHROMIUM), "install Debian's chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=WAIT_MS)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """One who looks at the page: a browser window of its own. ``problems`` must stay empty."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        width, height = options.pop("size", WIDE)
        self.url = url
        self.problems: list[str] = []
        self.expected: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.context.set_default_timeout(WAIT_MS)
        self.context.add_init_script(_WATCH)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda said: self._note(said.text) if said.type in {"error", "warning"} else None)
        self.page.on("pageerror", lambda error: self._note(f"uncaught: {error}"))

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        violations = self.page.evaluate("window.violations") if kind is None else None
        self.context.close()
        if kind is None:
            assert not self.problems, self.problems
            assert not violations, violations

    def go(self, place: str) -> Page:
        """Open a view, ``live/street``, or what stands at the door."""
        self.page.goto(f"{self.url}/#/{place}")
        name, _, part = place.partition("/")
        view = f"{name}-one" if (name, bool(part)) == ("live", True) else name
        self.page.locator(f'main[data-view="{view}"] h1, main[data-view="login"] h1').first.wait_for()
        return self.page

    def keep_picture(self, name: str) -> None:
        """The whole page as ``name``.png in the folder that the environment's VIDEODISCO_PICTURES names, if it does."""
        if PICTURES:
            self.page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)

    def until(self, script: str, argument: object = None) -> Any:
        """Wait until a script says something true, and return that."""
        deadline_s = time.monotonic() + WAIT_MS / 1e3
        while time.monotonic() < deadline_s:
            # A promise is true for Playwright, whatever comes of it: then it is asked again.
            said = self.page.wait_for_function(script, arg=argument, timeout=WAIT_MS).json_value()
            if said:
                return said
            self.page.wait_for_timeout(100)
        raise AssertionError(f"it never became true: {script}")

    def eventually(self, true: Callable[[], bool], what: str) -> None:
        """Wait until something of this side is true, which the browser may have to tell of first."""
        deadline_s = time.monotonic() + WAIT_MS / 1e3
        while not true():
            assert time.monotonic() < deadline_s, what
            self.page.wait_for_timeout(50)

    def noticed(self, text: str) -> None:
        """Wait until the page has said something in passing."""
        self.until("(text) => window.noticed.some((each) => each.includes(text))", text)

    def button(self, name: str, within: Locator | None = None) -> Locator:
        return (within or self.page).get_by_role("button", name=name, exact=True)

    def expect_refusal(self, status: int) -> None:
        """Chromium tells of every answer that is no success; this one is part of the test."""
        self.expected.append(f"status of {status}")

    def _note(self, text: str) -> None:
        if not any(each in text for each in self.expected):
            self.problems.append(text)
