"""A person at the demo's page, in real Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

PATIENCE_MS = 120_000
expect.set_options(timeout=PATIENCE_MS)

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Return the path of Chromium; without one the test is skipped, or fails if CI is set."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        reason = "Chromium is not installed (Debian's package chromium)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; CI is set, so this is a failure")
        pytest.skip(reason)
    return found


@contextmanager
def open_browser() -> Iterator[Browser]:
    path = chromium()
    # Chromium's own sandbox cannot be had by root, nor in most containers.
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    with sync_playwright() as playwright:
        options = [*sandbox, "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=path, args=options)
        try:
            yield browser
        finally:
            browser.close()


class Shopper:
    """A visitor with a browser profile of their own.

    Args:
        browser: runs.
        address: of the page.
        context: of the profile, such as `color_scheme`.
    """

    def __init__(self, browser: Browser, address: str, **context: Any) -> None:
        options = {"viewport": {"width": 1440, "height": 900}, **context}
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.address = address
        self.page = self.context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self) -> Page:
        """Open the page, and wait until there is something on both shelves, and the stream."""
        self.page.goto(self.address)
        expect(self.page.locator("#connection")).to_have_text("connected")
        for shelf in ("start", "yours"):
            expect(self.cards(shelf)).to_have_count(10)
        return self.page

    def cards(self, shelf: str) -> Locator:
        return self.page.locator(f"#{shelf}-cards > li")

    def items(self, shelf: str = "yours") -> list[str]:
        """Return the ids of a shelf's items, in order."""
        return self._data(shelf, "data-item")

    def kinds(self, shelf: str = "yours") -> list[str]:
        """Return the categories of a shelf's items."""
        return self._data(shelf, "data-category")

    def _data(self, shelf: str, name: str) -> list[str]:
        # At one moment: cards that were found one by one might be of two lists.
        html = self.page.locator(f"#{shelf}-cards")
        values: list[str] = html.evaluate_all(READ, name)
        return values

    def choose(self, category: str) -> None:
        button = self.page.get_by_role("group", name="Categories").get_by_role(
            "button", name=category, exact=True
        )
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")

    def view(self, number: int) -> None:
        """Click on a product of those to browse."""
        self.page.locator("#browse-cards .open").nth(number).click()

    def answered(self, events: int) -> None:
        """Wait until the page shows the list that answers so many events."""
        expect(self.page.locator("#seen")).to_have_text(str(events))


READ = "(lists, name) => [...lists[0].children].map(card => card.getAttribute(name))"
