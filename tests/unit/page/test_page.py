"""The page by itself: what it says, what it leaves out, what it links to, and how large it becomes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from analysis.figures.results import standings
from analysis.figures.summary import summarize
from analysis.page.page import PAGE_BYTES, render
from analysis.page.pictures import Picture, placed, shrunk, themed
from analysis.reading.run import load_run
from gatebench.words.paths import ROOT
from tests.support import pages
from tests.support.pages import Page, words
from tests.support.summaries import KEEP_ALIVE
from tests.support.synthetic import SUBJECTS, make_run

if TYPE_CHECKING:
    from collections.abc import Callable

CHART = (ROOT / "docs" / "throughput-keep-alive.svg").read_bytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pages.plain_page(tmp_path_factory.mktemp("page") / "run")


@pytest.fixture(scope="module")
def html(plain: Path) -> str:
    return plain.read_text()


def section(html: str, anchor: str) -> str:
    """From the heading with that ID to the next of its kind."""
    return html[html.index(f'<h2 id="{anchor}"') :].split("<h2")[1]


def rows(table: str) -> dict[str, list[str]]:
    """Subject → the texts of its row."""
    found = re.findall(r'<tr[^>]*><th scope="row">(.*?)</th>(.*?)</tr>', table, re.DOTALL)
    return {
        name: [words(cell) for cell in re.findall(r"<td.*?</td>", rest, re.DOTALL)] for name, rest in found
    }


@pytest.mark.parametrize("make", [pages.plain_page, pages.mixed_page, pages.invalid_page, pages.hostile_page])
def test_a_page_loads_nothing_is_well_nested_and_its_headings_are_in_order(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    html = make(tmp_path / "run").read_text()

    page = Page(html)
    assert page.open == []
    assert page.sources
    assert all(source.startswith("data:image/svg+xml,") for source in page.sources)
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not [name for name in page.attributes if name.startswith("on")]
    assert len(page.ids) == len(set(page.ids))
    assert {unquote(link[1:]) for link in page.links if link.startswith("#")} <= set(page.ids)
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in zip(page.headings, page.headings[1:], strict=False))


def test_the_styles_load_nothing(html: str) -> None:
    style = html[html.index("<style>") : html.index("</style>")]

    assert "url(" not in style
    assert "@import" not in style


def test_only_the_pages_own_script_may_run(html: str) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)

    assert len(scripts) == html.count("<script") == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}';" in html
    )


def test_nothing_hostile_gets_into_the_page_as_markup(tmp_path: Path) -> None:
    html = pages.hostile_page(tmp_path / "run").read_text()

    page = Page(html)
    assert pages.HOSTILE not in html
    assert "<img src=x" not in html
    assert page.tags.count("script") == page.tags.count("style") == 1
    assert "evil.example" not in html[html.index("<style>") : html.index("</style>")]
    assert not [link for link in page.links if link.startswith("javascript")]
    assert html.count("&lt;img src=x onerror=") > 50
    assert r"\x1b[2J\u202e&lt;/script&gt;" in html
    assert not {"\x1b", "\u202e"} & set(html)


def test_local_links_point_at_files_of_the_run(plain: Path) -> None:
    local = [link for link in Page(plain.read_text()).links if not link.startswith(("#", "https:"))]

    expected = {"run.json", "slices.parquet", "histograms.parquet", "charts", "logs/uvicorn-b0.log"}
    charts = {f"charts/throughput-0{kind}" for kind in (".svg", ".png", "-dark.svg", "-dark.png")}
    assert expected | charts <= set(local)
    assert all((plain.parent / link).exists() for link in local)


def test_a_file_that_is_not_there_is_not_linked_to(tmp_path: Path) -> None:
    made = pages.make_page(make_run(tmp_path / "run", pages.PLAN, pages.CHOSEN[:2], [KEEP_ALIVE])).parent
    for file in (made / "charts").glob("*-dark.*"):
        file.unlink()
    (made / "events.jsonl").unlink()
    run = load_run(make_run(tmp_path / "other", pages.PLAN, pages.CHOSEN[:2], [KEEP_ALIVE]))

    html = render(replace(run, folder=made), summarize(run), {("keep-alive", "c64"): [pages.picture("run")]})

    assert "charts/run.svg" in html
    assert "-dark" not in html
    assert "events.jsonl" not in html


def test_the_overview_says_of_a_limited_figure_what_limits_it(html: str) -> None:
    found = {subject: fields[1:] for subject, fields in rows(section(html, "overview")).items()}

    assert found["uwsgi-http11"][0].endswith(" limited: reuse")
    assert found["gunicorn-sync"] == ["unsupported", "unsupported", "failed: died"]
    assert [place.split()[-1] for place in found["granian-wsgi"]] == ["1", "1", "1"]
    assert section(html, "overview").count('class="leads"') == 3


def test_the_overview_says_of_what_nobody_looked_at_that_it_was_not_observed(html: str) -> None:
    assert {fields[0] for fields in rows(section(html, "overview")).values()} == {"not observed"}


def test_levels_of_a_workload_stand_together_with_a_table_for_their_charts(html: str) -> None:
    shown = section(html, "workload:keep-alive")

    assert re.findall(r'<h3 id="([^"]+)"', shown) == ["keep-alive-c64", "keep-alive-c256"]
    assert (
        shown.index("What workload-0 shows") < shown.index("table class") < shown.index("What throughput-0")
    )
    assert shown.count('class="data matrix"') == 1
    assert 'class="data matrix"' not in section(html, "workload:close")


def test_cpu_and_memory_are_shown_for_the_whole_run(html: str) -> None:
    cpu, memory = section(html, "run").split("<caption>")[1:]

    assert "Server CPU a request (µs)" in cpu
    assert rows(cpu)["uwsgi-http11"][0].endswith(" limited: reuse")
    assert float(rows(cpu)["uvicorn"][0]) > 50
    assert rows(memory)["uvicorn"] == ["31.4"] * 3


def test_claims_are_shown_with_verdict_evidence_and_source(html: str) -> None:
    shown = section(html, "claims")

    assert "✓ supported 98 requests/s https://claims.example/wsgi" in words(shown)
    assert "✗ contradicted 0.97 times a talk" in words(shown)
    assert "? undecided too few blocks PEP 3333" in words(shown)
    assert 'href="https://claims.example/wsgi"' in shown
    assert "&lt;b&gt;asyncio&lt;/b&gt;" in shown


def test_a_run_without_claims_has_no_section_for_them(tmp_path: Path) -> None:
    assert 'id="claims"' not in pages.cut_off_page(tmp_path / "run").read_text()


def test_what_each_server_hands_over_is_shown_where_the_run_recorded_it(html: str, tmp_path: Path) -> None:
    shown = words(section(html, "interfaces"))

    assert "REQUEST_METHOD" in shown
    assert "granian-wsgi" in shown
    assert "&lt;i&gt;" in shown
    assert 'href="#interfaces"' in html
    assert "interfaces" not in Page(pages.cut_off_page(tmp_path / "run").read_text()).ids


def test_the_bars_of_a_table_are_in_proportion_and_start_at_nothing(html: str) -> None:
    level = html[html.index('<h3 id="keep-alive-c64"') :].partition("</table>")[0]
    bars = re.findall(r'style="--w:([\d.]+)%">([\d,]+|—)<', level)

    shares = {figure: float(share) for share, figure in bars}
    largest = max(float(figure.replace(",", "")) for figure in shares if figure != "—")
    assert shares.pop("—") == 0
    for figure, share in shares.items():
        assert share == pytest.approx(100 * float(figure.replace(",", "")) / largest, abs=0.1)


def test_a_subject_has_the_color_of_the_charts_and_the_shape_of_its_interface(html: str) -> None:
    assert re.search(r"\.s0\{--c:#[0-9a-f]{6};--r:50%\}", html)  # uvicorn
    assert re.search(r"\.s1\{--c:#[0-9a-f]{6};--r:0\}", html)  # granian-wsgi


def test_the_second_copy_of_a_subject_is_explained(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", pages.PLAN, pages.CHOSEN[:2], [KEEP_ALIVE])
    told = json.loads((folder / "run.json").read_text())
    told["subjects"].append(told["subjects"][0] | {"id": "uvicorn~again", "twin_of": "uvicorn"})
    (folder / "run.json").write_text(json.dumps(told))

    text = words(pages.make_page(folder).read_text())

    assert "uvicorn was measured twice, as two subjects" in text
    assert "uvicorn once more, for the noise of the run" in text


def test_charts_for_which_there_is_no_room_are_linked_to(plain: Path) -> None:
    charts = [Picture(CHART, f"shows {number}", "throughput-0", f"chart {number}") for number in range(4)]
    size = len(themed(CHART))

    first, second = placed([charts[:2], charts[2:]], plain.parent, int(2.5 * size))

    assert [bool(each.address) for each in (*first, *second)] == [True, False, True, False]
    assert second[1].files["SVG"] == "charts/throughput-0.svg"


def test_a_page_with_very_many_charts_keeps_under_its_limit_and_says_what_is_not_in_it(plain: Path) -> None:
    run = load_run(plain.parent)
    summary = summarize(run)
    charts = [Picture(CHART, "what it shows", "throughput-0", "many charts")] * 30

    html = render(run, summary, {(level.workload, level.level): charts for level in summary.levels})

    assert 0.9 * PAGE_BYTES < len(html.encode()) <= 1.01 * PAGE_BYTES
    absent = html.count("this page has no more room for charts")
    assert absent > 30
    assert html.count("data:image/svg+xml,") == 90 - absent


def test_of_very_many_comparisons_the_page_has_those_with_the_leader_and_of_neighbors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path / "run", subjects=SUBJECTS, loads=[KEEP_ALIVE])
    run = load_run(folder)
    summary = summarize(run)
    (level,) = summary.levels
    monkeypatch.setattr("analysis.page.sections.MOST_PAIRS", 10)
    html = render(run, summary, {(level.workload, level.level): []})

    ranked = [row.cell.subject for row in standings(level) if row.best is not None]
    pairs = [*pairwise(ranked), *((ranked[0], other) for other in ranked[1:])]
    near = {frozenset(pair) for pair in pairs}
    table = html[html.index('<table class="data pairs">') :]
    rows = re.findall(r'<tr><th scope="row">([^<]+)</th><th scope="row">([^<]+)</th>', table)
    assert {frozenset(row) for row in rows} == near
    assert len(near) < len(level.comparisons)
    assert f"neighbors ({len(near)} of {len(level.comparisons)} pairs)" in html


def test_charts_that_were_not_drawn_are_named_with_the_way_to_get_them(plain: Path) -> None:
    run = load_run(plain.parent)
    summary = summarize(run)
    pictures: dict[tuple[str, str], list[Picture]] = {
        (level.workload, level.level): [] for level in summary.levels
    }
    html = render(run, summary, pictures, left_out={"latency": 3, "server CPU a request": 2})

    assert "latency (3), server CPU a request (2)." in re.sub(r"\s+", " ", html)
    assert "gatebench report --all-charts" in html
    assert "--all-charts" not in render(run, summary, pictures)


def test_a_shrunk_chart_keeps_its_hatches_its_glyphs_and_its_size() -> None:
    small = shrunk(CHART)

    targets = set(re.findall(r'href="#(\w+)"', small)) | set(re.findall(r"url\(#(\w+)\)", small))
    assert targets == set(re.findall(r'id="(\w+)"', small))
    assert small.count("<use ") == CHART.count(b"<use ")
    assert small.count("<pattern") == CHART.count(b"<pattern")
    assert re.findall('viewBox="[^"]+"', small) == re.findall('viewBox="[^"]+"', CHART.decode())
    assert "<!--" not in small


def test_a_chart_in_the_page_has_the_inks_of_both_color_schemes() -> None:
    address = unquote(themed(CHART))

    assert address.startswith("data:image/svg+xml,<svg")
    assert "@media (prefers-color-scheme:dark)" in address
    assert "fill:var(--i0)" in address
    assert '"' not in address
