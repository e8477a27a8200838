"""The demo's page in real Chromium, on the real pipeline: collector, broker, worker, gateway."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from page_checks import contrasts, unnamed
from playwright.sync_api import Browser, expect
from shop_parts import open_shop
from shopper import Shopper, chromium, open_browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Enter = Callable[..., Shopper]


@pytest.fixture(scope="module")
def address(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[str]:
    chromium()  # rather than after a minute
    text_encoder: Path = request.getfixturevalue("text_encoder_folder")
    with open_shop(tmp_path_factory.mktemp("shop"), text_encoder) as stream:
        yield stream.page.address


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@pytest.fixture
def enter(browser: Browser, address: str) -> Iterator[Enter]:
    """Let new visitors in; at the end none of their pages may have complained."""
    shoppers: list[Shopper] = []

    def come(**context: object) -> Shopper:
        shoppers.append(Shopper(browser, address, **context))
        shoppers[-1].open()
        return shoppers[-1]

    yield come
    complaints = [complaint for shopper in shoppers for complaint in shopper.complaints]
    for shopper in shoppers:
        shopper.context.close()
    assert complaints == []


def test_three_clicks_in_a_category_bring_the_shelf_there(enter: Enter) -> None:
    shopper = enter()
    page = shopper.page
    start = shopper.items("start")
    assert sorted(shopper.items()) == sorted(start)  # nothing is known of anybody new
    before = Counter(shopper.kinds())
    kind = min(before, key=lambda each: before[each])
    shopper.choose(kind)
    for number in range(3):
        earlier = shopper.items()
        shopper.view(number)
        shopper.answered(number + 1)
        assert shopper.items() != earlier
        expect(page.locator("#log li")).to_have_count(number + 1)
        note = page.locator("#log li").first
        expect(note).to_have_attribute("data-ms", re.compile(r"\d+"))
        ms = note.get_attribute("data-ms")
        print(f"click {number + 1}: {ms} ms to the shelf")
        expect(page.locator("#ms")).to_have_text(f"{ms} ms")
        expect(page.locator("#changed")).to_have_text(re.compile(r"\d+ new, \d+ gone, \d+ moved"))
        expect(page.locator("#loss")).to_have_text(re.compile(r"[\d.]+ → [\d.]+ nats"))
        expect(page.get_by_role("status")).to_contain_text("You viewed")
    after = Counter(shopper.kinds())
    assert after[kind] > before[kind]
    assert after.most_common(1)[0][0] == kind
    assert shopper.items("start") == start
    reasons = page.locator("#yours-cards .why").all_inner_texts()
    assert reasons and all(re.match("because you viewed .+", reason) for reason in reasons)
    assert any(url.endswith("/v1/events") for url in shopper.requests)  # to the collector
    assert any("/events?token=" in url for url in shopper.requests)  # from the gateway


def test_two_profiles_are_two_users(enter: Enter) -> None:
    first, second = enter(), enter()
    names = [each.page.locator("#visitor").inner_text() for each in (first, second)]
    assert names[0] != names[1]
    for shopper, kind in ((first, "Boots"), (second, "Guitars")):
        shopper.choose(kind)
        for number in range(3):
            shopper.view(number)
            shopper.answered(number + 1)
    assert first.kinds().count("Boots") > second.kinds().count("Boots")
    assert second.kinds().count("Guitars") > first.kinds().count("Guitars")
    first.page.reload()  # who comes back is known
    first.answered(3)
    expect(first.page.locator("#visitor")).to_have_text(names[0])
    first.page.get_by_role("button", name="New visitor").click()
    expect(first.page.locator("#visitor")).not_to_have_text(names[0])
    first.answered(0)
    expect(first.cards("yours")).to_have_count(10)
    expect(second.page.locator("#seen")).to_have_text("3")


def test_search_and_cart_by_keyboard_alone(enter: Enter) -> None:
    shopper = enter()
    page, press = shopper.page, shopper.page.keyboard.press
    press("Tab")
    expect(page.get_by_role("link", name="Skip to the shelves")).to_be_focused()
    press("Tab")
    box = page.get_by_role("searchbox", name="Search the shop")
    expect(box).to_be_focused()
    expect(box).to_have_css("outline-style", "solid")
    page.keyboard.type("red tent")
    press("Enter")
    shopper.answered(1)
    heading = page.get_by_role("heading", name="1 result for “red tent”")
    expect(heading).to_be_focused()
    tent = page.locator("#browse-cards .open")
    while tent.evaluate("each => each !== document.activeElement"):  # past the categories
        press("Tab")
    expect(tent).to_have_css("outline-style", "solid")
    press("Enter")
    shopper.answered(2)
    expect(tent).to_be_focused()  # the shelf changed, and did not take it away
    press("Tab")
    goods = page.locator("#browse-cards")
    expect(goods.get_by_role("button", name="Add red tent to the cart")).to_be_focused()
    press("Enter")
    shopper.answered(3)
    expect(page.get_by_role("heading", name="Cart (1)")).to_be_visible()
    buy = page.get_by_role("button", name="Buy")
    while buy.evaluate("each => each !== document.activeElement"):
        press("Tab")
    press("Enter")
    shopper.answered(4)
    expect(page.get_by_role("heading", name="Cart (0)")).to_be_focused()
    expect(page.get_by_role("status")).to_contain_text("You bought red tent")


def test_a_card_that_leaves_the_shelf_hands_its_focus_to_the_heading(enter: Enter) -> None:
    shopper = enter()
    shopper.choose("Lamps")
    cards = shopper.page.locator("#yours-cards .open")
    cards.last.focus()
    ids = shopper.items()
    events = 0
    while ids[-1] in shopper.items():
        assert events < 10, "it stays whatever is looked at"
        shopper.page.evaluate(
            "n => document.querySelectorAll('#browse-cards .open')[n].click()", events
        )
        events += 1
        shopper.answered(events)
    expect(shopper.page.get_by_role("heading", name="Adapted to you")).to_be_focused()


@pytest.mark.parametrize(("motion", "moves"), [("no-preference", True), ("reduce", False)])
def test_cards_travel_unless_that_is_unwanted(enter: Enter, motion: str, moves: bool) -> None:
    shopper = enter(reduced_motion=motion)
    started: list[dict] = []

    def note(told: dict) -> None:
        started.append(told)

    session = shopper.context.new_cdp_session(shopper.page)
    session.on("Animation.animationStarted", note)
    session.send("Animation.enable")
    shopper.choose("Teas")
    shopper.view(0)
    shopper.answered(1)
    expect(shopper.page.locator("#log li")).to_have_count(1)
    session.send("Animation.disable")  # what was told before has arrived when this is answered
    assert bool(started) is moves


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_a_name_and_can_be_read(enter: Enter, scheme: str) -> None:
    shopper = enter(color_scheme=scheme, reduced_motion="reduce")
    shopper.choose("Teas")
    shopper.view(0)
    shopper.answered(1)
    shopper.page.locator("#browse-cards .add").first.click()
    shopper.answered(2)
    assert unnamed(shopper.context, shopper.page) == []
    poor = [found for found in contrasts(shopper.page) if found.ratio < 4.5]
    assert poor == []
    dark = sum(map(int, re.findall(r"\d+", background(shopper)))) < 3 * 128
    assert dark is (scheme == "dark")


def background(shopper: Shopper) -> str:
    found: str = shopper.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


def test_on_a_small_screen_nothing_sticks_out(enter: Enter) -> None:
    shopper = enter(viewport={"width": 360, "height": 740})
    assert shopper.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_an_erased_visitor_has_an_empty_shelf_and_begins_anew(enter: Enter) -> None:
    shopper = enter()
    page = shopper.page
    shopper.choose("Breads")
    for number in range(2):
        shopper.view(number)
        shopper.answered(number + 1)
    page.get_by_role("button", name="Erase me").click()
    expect(page.locator("#yours-empty")).to_be_visible()
    expect(shopper.cards("yours")).to_have_count(0)
    expect(page.locator("#seen")).to_have_text("0")
    expect(page.get_by_role("status")).to_contain_text("You are erased")
    expect(shopper.cards("start")).to_have_count(10)
    shopper.view(2)
    shopper.answered(1)
    expect(shopper.cards("yours")).to_have_count(10)
    expect(page.locator("#yours-empty")).to_be_hidden()
