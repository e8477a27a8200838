"""Measure, in real Chromium, how long it takes from a click to the shelf; and take pictures.

    innerloop demo --events 0 --stay      # in another terminal; it says where the page is
    python tests/demo/click_to_shelf.py http://127.0.0.1:PORT --clicks 40 --images docs/images

What is measured is what the page shows: from the event's time stamp in the browser until it has
drawn the new shelf. The first click of a visit is told apart: it opens connections.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from playwright.sync_api import expect
from shopper import Shopper, open_browser

CATEGORY = "Produce"


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--images", type=Path)
    given = parser.parse_args()
    with open_browser() as browser:
        shopper = Shopper(browser, given.address)
        first, *rest = measure(shopper, given.clicks)
        by_worker = [worker for _, worker in rest]
        times = sorted(ms for ms, _ in rest)
        print(f"first click {first[0]} ms; then {len(times)} clicks:")
        p95 = times[round(0.95 * (len(times) - 1))]
        print(f"click to shelf: p50 {statistics.median(times):g}, p95 {p95}, max {times[-1]} ms")
        print(f"of it click to worker's answer: p50 {statistics.median(by_worker):g} ms")
        print(f"within 300 ms: {sum(ms <= 300 for ms in times)} of {len(times)}")
        for scheme in ("light", "dark") if given.images else ():
            shoot(browser, given.address, scheme, given.images / f"demo-{scheme}.png")


def measure(shopper: Shopper, clicks: int) -> list[tuple[int, int]]:
    """Return for each click the milliseconds to the shelf, and those to the worker's answer."""
    page = shopper.open()
    shopper.choose(CATEGORY)
    page.get_by_role("button", name="Show more").click()
    products = page.locator("#browse-cards .open").count()
    found = []
    for number in range(clicks):
        shopper.view(number % products)
        shopper.answered(number + 1)
        note = page.locator("#log li").first
        expect(page.locator("#log li")).to_have_count(min(number + 1, 30))
        expect(page.locator("#ms")).to_have_text(f"{note.get_attribute('data-ms')} ms")
        ms, worker = (note.get_attribute(f"data-{name}") for name in ("ms", "worker"))
        found.append((int(ms or 0), int(worker or 0)))
        page.wait_for_timeout(500)  # as long as cards travel, and less than a person takes
    return found


def shoot(browser, address: str, scheme: str, path: Path) -> None:
    """Take a picture of the page after three clicks."""
    size = {"width": 1280, "height": 800}
    shopper = Shopper(browser, address, color_scheme=scheme, viewport=size)
    page = shopper.open()
    shopper.choose(CATEGORY)
    for number in range(3):
        shopper.view(number)
        shopper.answered(number + 1)
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)  # until the cards are where they go
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path)
    print(f"{path}: {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
