"""The page in a real browser: it draws, sorts and filters, asks no network, and everybody can read it."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import sync_playwright

from analysis.page.pictures import shrunk
from gatebench.words.paths import ROOT
from tests.support import pages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

HEADLINE = ROOT / "docs" / "headline"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
INK_ON_LIGHT, INK_ON_DARK = "rgb(27, 31, 36)", "rgb(232, 236, 241)"
KINDS = ("plain", "mixed", "invalid", "cut_off", "hostile", "headline")
ALL_OF_A_LEVEL = ["granian-wsgi", "uvicorn", "uwsgi-http11", "gunicorn-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if pages.CHROMIUM is None:
        pytest.skip("no Chromium on PATH; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=pages.CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    headline = Path(shutil.copytree(HEADLINE, folder / "headline"))
    made = {kind: getattr(pages, f"{kind}_page")(folder / kind) for kind in KINDS if kind != "headline"}
    return made | {"headline": pages.make_page(headline)}


@contextmanager
def opened(browser: Browser, file: Path, **options: Any) -> Iterator[Page]:
    """The page without a network; at the end it must have asked for nothing and complained of nothing."""
    context = browser.new_context(**({"viewport": WIDE} | options))
    page = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    context.route("http*://**", lambda route: route.abort())
    page.goto(file.as_uri())
    yield page
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    context.close()


def level_table(page: Page) -> Locator:
    return page.locator("table.level").first


def subjects(table: Locator) -> list[str]:
    """The subjects of the rows that are shown, from top to bottom."""
    return table.locator("tbody tr:visible th:first-child").all_inner_texts()


def settle(page: Page) -> None:
    """Waits until a filter has had its effect, which it has with the next frame."""
    page.evaluate("new Promise(done => setTimeout(() => requestAnimationFrame(() => setTimeout(done))))")


def choose(page: Page, label: str, value: str) -> None:
    page.get_by_label(label).select_option(value)
    settle(page)


def sorted_by(table: Locator, heading: str) -> list[tuple[str, str]]:
    """The headings that say that the table is sorted by them, and which way, after a press on one."""
    table.get_by_role("button", name=heading).click()
    heads = table.locator("thead th[aria-sort]")
    return [(head.inner_text().split("\n")[0], str(head.get_attribute("aria-sort"))) for head in heads.all()]


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_draws_its_pictures_and_asks_no_network(
    browser: Browser, files: dict[str, Path], kind: str
) -> None:
    with opened(browser, files[kind]) as page:
        assert page.locator("main h2").first.inner_text() == "Findings"
        page.evaluate(
            """async () => {
              const drawn = (one) => one.complete && one.naturalWidth > 0;
              while (![...document.images].every(drawn)) await new Promise((done) => setTimeout(done, 50));
            }"""
        )
        drawn = page.locator("figure img").evaluate_all("all => all.map(one => one.naturalWidth)")
        assert len(drawn) >= 4
        assert min(drawn) > 1000
        assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_sticks_out_of_a_phone(browser: Browser, files: dict[str, Path], kind: str) -> None:
    with opened(browser, files[kind], viewport=PHONE) as page:
        page.evaluate("document.querySelectorAll('main details').forEach(each => each.open = true)")

        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("kind", ["plain", "mixed", "invalid", "hostile"])
def test_axe_finds_no_serious_violation(
    browser: Browser, files: dict[str, Path], kind: str, viewport: dict[str, int], scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with opened(browser, files[kind], viewport=viewport, color_scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")

        found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]

        serious = [each for each in found if each["impact"] in {"serious", "critical"}]
        assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == []


def test_a_heading_sorts_best_first_then_worst_first_then_as_before(
    browser: Browser, files: dict[str, Path]
) -> None:
    with opened(browser, files["plain"]) as page:
        table = level_table(page)
        assert subjects(table) == ALL_OF_A_LEVEL

        assert sorted_by(table, "Throughput") == [("Throughput (requests/s)", "descending")]
        assert subjects(table) == ALL_OF_A_LEVEL  # what has no figure is last
        assert sorted_by(table, "Throughput") == [("Throughput (requests/s)", "ascending")]
        assert subjects(table) == ["uwsgi-http11", "uvicorn", "granian-wsgi", "gunicorn-sync"]
        assert sorted_by(table, "Latency p50") == [("Latency p50 (ms)", "ascending")]
        assert subjects(table)[0] == "granian-wsgi"
        assert sorted_by(table, "Subject") == [("Subject", "ascending")]
        assert subjects(table) == sorted(ALL_OF_A_LEVEL)
        assert sorted_by(table, "Subject") == [("Subject", "descending")]
        assert sorted_by(table, "Subject") == []
        assert subjects(table) == ALL_OF_A_LEVEL


def test_filters_act_on_every_table_that_has_their_column(browser: Browser, files: dict[str, Path]) -> None:
    with opened(browser, files["plain"]) as page:
        table, pairs = level_table(page), page.locator("table.pairs").first
        page.get_by_text("Every comparison").first.click()
        every_pair = pairs.locator("tbody tr:visible").count()

        page.get_by_label("Subject contains").fill("UVI wsgi-")
        settle(page)
        assert subjects(table) == ["uvicorn", "uwsgi-http11"]
        assert "2 of 4 rows match the filter." in table.locator("caption").inner_text()
        choose(page, "Interface", "wsgi")
        assert subjects(table) == ["uwsgi-http11"]
        assert subjects(page.locator("table.matrix").first) == ["uwsgi-http11"]
        choose(page, "Status", "ok")
        assert subjects(table) == []
        assert " rows in " in page.get_by_role("status").inner_text()
        page.get_by_role("button", name="Clear").click()
        settle(page)
        assert subjects(table) == ALL_OF_A_LEVEL
        assert pairs.locator("tbody tr:visible").count() == every_pair
        assert "match the filter" not in table.locator("caption").inner_text()


def test_the_whole_page_works_with_the_keyboard_alone(browser: Browser, files: dict[str, Path]) -> None:
    with opened(browser, files["plain"]) as page:
        page.keyboard.press("Tab")
        assert focused(page) == "Skip to the findings"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert focused(page) == "keep-alive, 64 connections"  # the first link of the findings

        reach(page, "Throughput (requests/s)")
        page.keyboard.press("Enter")
        page.keyboard.press("Space")
        assert subjects(level_table(page))[0] == "uwsgi-http11"
        reach(page, "Every comparison (1 pair)")
        page.keyboard.press("Enter")
        assert page.locator("table.pairs").first.is_visible()
        page.get_by_label("Subject contains").focus()
        page.keyboard.type("granian")
        settle(page)
        assert subjects(level_table(page)) == ["granian-wsgi"]


def test_what_can_be_scrolled_can_be_reached_and_nothing_else_stops_the_keyboard(
    browser: Browser, files: dict[str, Path]
) -> None:
    script = """boxes => boxes.filter(box => box.checkVisibility())
        .map(box => [box.scrollWidth > box.clientWidth + 1, box.tabIndex === 0])"""
    for viewport in (WIDE, PHONE):
        with opened(browser, files["plain"], viewport=viewport) as page:
            page.wait_for_function("document.querySelector('.scroll[tabindex]')")
            boxes = page.locator(".scroll").evaluate_all(script)

            assert any(scrolls for scrolls, _ in boxes)
            assert all(scrolls == reached for scrolls, reached in boxes)


def test_on_a_phone_contents_and_filters_fold_away(browser: Browser, files: dict[str, Path]) -> None:
    with opened(browser, files["plain"], viewport=PHONE) as page:
        contents, filters = page.get_by_role("navigation"), page.get_by_role("search")
        assert not contents.is_visible()
        assert not filters.is_visible()

        page.get_by_text("Contents", exact=True).click()
        assert contents.is_visible()
        page.get_by_text("Filter tables").click()
        assert filters.is_visible()
        assert not contents.is_visible()
        page.keyboard.press("Escape")
        assert not filters.is_visible()
        page.get_by_text("Contents", exact=True).click()
        contents.get_by_role("link", name="Raw data").click()
        assert not contents.is_visible()
        assert page.locator("#raw").bounding_box()["y"] > 40  # type: ignore[index]  # not under the bar


def test_the_contents_say_where_the_reader_is(browser: Browser, files: dict[str, Path]) -> None:
    with opened(browser, files["plain"]) as page:
        here = page.locator("nav a[aria-current]")
        assert here.all_inner_texts() == ["Findings"]

        page.get_by_role("navigation").get_by_role("link", name="256 connections").click()
        page.wait_for_function(
            "document.querySelector('nav a[aria-current]').textContent === '256 connections'"
        )

        assert here.count() == 1
        assert "256" in page.url


def test_without_a_script_the_tables_are_plain_and_whole(browser: Browser, files: dict[str, Path]) -> None:
    with opened(browser, files["plain"], java_script_enabled=False) as page:
        assert subjects(level_table(page)) == ALL_OF_A_LEVEL
        assert page.locator("th button").count() == 0
        assert page.get_by_role("navigation").is_visible()
        assert not page.get_by_role("search").is_visible()


def test_the_colors_are_the_readers_and_paper_is_white(browser: Browser, files: dict[str, Path]) -> None:
    ink = "getComputedStyle(document.body).color"
    with opened(browser, files["plain"], color_scheme="light") as page:
        assert page.evaluate(ink) == INK_ON_LIGHT
        assert corner(page) > 200
    with opened(browser, files["plain"], color_scheme="dark") as page:
        assert page.evaluate(ink) == INK_ON_DARK
        assert corner(page) < 80
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate(ink) == INK_ON_LIGHT
        assert corner(page) > 200


def test_a_chart_looks_the_same_after_it_was_shrunk(browser: Browser, tmp_path: Path) -> None:
    import numpy as np  # noqa: PLC0415 - with Pillow, only this test needs them

    svg = (HEADLINE.parent / "throughput-keep-alive.svg").read_bytes()
    small = shrunk(svg)
    seen = []
    for name, content in (("whole", svg), ("small", small.encode())):
        (tmp_path / f"{name}.svg").write_bytes(content)
        page = browser.new_page(viewport={"width": 1152, "height": 720})
        page.goto((tmp_path / f"{name}.svg").as_uri())
        seen.append(np.asarray(pages.image(page.screenshot())).astype(int))
        page.close()

    assert len(small) < 0.6 * len(svg)
    assert (seen[0] < 200).mean() > 0.02  # it is not blank
    assert (abs(seen[0] - seen[1]) > 64).mean() < 1e-3


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.textContent.trim()"))


def reach(page: Page, text: str) -> None:
    """Presses Tab until what has that text has the focus."""
    for _ in range(200):
        if focused(page) == text:
            return
        page.keyboard.press("Tab")
    pytest.fail(f"no way to {text!r} with the keyboard")


def corner(page: Page) -> int:
    """How light the first chart is in its corner, 0 to 255."""
    picture = page.locator("figure img").first
    picture.scroll_into_view_if_needed()
    return pages.image(picture.screenshot()).crop((6, 6, 7, 7)).tobytes()[0]
