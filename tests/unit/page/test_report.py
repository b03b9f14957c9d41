"""The report: every derived file, findings first, self-contained, and nothing a server said unescaped."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from analysis.page.report import build_report
from tests.support.pages import Page, make_page, words
from tests.support.synthetic import BROADCAST, IDLE, LOADS, SEARCH, STEADY, SUBJECTS, VISIT, make_run
from tests.support.synthetic_model import Plan

if TYPE_CHECKING:
    from pathlib import Path

PLAN = Plan(blocks=3, rounds=4)
BY_ID = {truth.id: truth for truth in SUBJECTS}
CHOSEN = [BY_ID[name] for name in ("uvicorn", "granian-wsgi", "gunicorn-sync", "uwsgi-http11")]
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run's folder with its report, and the summary that was returned."""
    failures = [
        {
            "block": 1,
            "subject": "gunicorn-sync",
            "workload": "close",
            "level": "c64",
            "code": "died",
            "text": HOSTILE,
        }
    ]
    made = make_run(tmp_path_factory.mktemp("report") / "run", PLAN, CHOSEN, LOADS[:2], failures)
    (made / "logs").mkdir()
    (made / "logs" / "uvicorn-b0.log").write_text("started")
    return made, build_report(made)


@pytest.fixture(scope="module")
def folder(built: tuple[Path, dict[str, Any]]) -> Path:
    return built[0]


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return (folder / "report.html").read_text()


def test_every_derived_file_is_there_and_nothing_half_written(folder: Path) -> None:
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    charts = {
        f"charts/{kind}-{workload}-c64.{ending}"
        for kind in ("throughput", "latency")
        for workload in ("keep-alive", "close")
        for ending in ("svg", "png")
    }

    assert charts | {"summary.json", "report.html"} <= files
    assert not [name for name in files if name.endswith(".tmp")]


def test_the_returned_summary_is_the_written_one(built: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = built
    assert summary == json.loads((folder / "summary.json").read_text())


def test_making_the_report_again_leaves_the_raw_data_and_gives_the_same_page(folder: Path, html: str) -> None:
    raw = {file: file.read_bytes() for file in folder.rglob("*.parquet") if file.is_file()}

    build_report(folder)

    assert raw == {file: file.read_bytes() for file in raw}
    assert (folder / "report.html").read_text() == html


def test_charts_of_an_earlier_report_that_this_one_does_not_draw_are_removed(folder: Path) -> None:
    drawn = {path.name for path in (folder / "charts").iterdir()}
    for name in ("renamed.svg", "renamed-dark.png"):
        (folder / "charts" / name).write_text("from an earlier version")
    build_report(folder)
    assert {path.name for path in (folder / "charts").iterdir()} == drawn


def test_local_links_point_at_files_of_the_run(folder: Path, html: str) -> None:
    local = [link for link in Page(html).links if not link.startswith(("#", "https:"))]

    assert "logs/uvicorn-b0.log" in local
    assert all((folder / link).exists() for link in local)


def test_findings_come_before_charts_and_charts_before_conditions(html: str) -> None:
    places = [html.index(mark) for mark in ('id="findings"', "<figure>", 'id="apart"', 'id="conditions"')]

    assert places == sorted(places)


def test_what_a_server_said_is_shown_escaped(html: str) -> None:
    assert HOSTILE not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_every_cell_that_is_not_valid_is_listed_with_its_reason(html: str) -> None:
    listed = html[html.index('id="apart"') : html.index('id="conditions"')]

    assert "unsupported: gunicorn-sync does not declare keep-alive" in listed
    assert "died: block 2" in listed
    assert "reuse: the server closed" in listed


def test_the_conditions_hold_the_exact_command_the_seed_and_the_notices(html: str) -> None:
    assert "/environments/uvicorn/bin/uvicorn --bind 127.0.0.1:40000" in html
    assert "seed 7" in html
    assert "synthetic: this run was made by a random number generator" in html


def test_every_chart_has_its_table_and_a_text_for_those_who_cannot_see_it(html: str) -> None:
    pictures = re.findall(r'<img [^>]*alt="([^"]+)"', html)

    assert len(pictures) == html.count("<figure>") >= 4
    assert html.count("The figures behind the charts") == 2


def test_a_complete_run_has_no_warning_that_it_is_not(html: str) -> None:
    assert "This run is not complete" not in html


def test_a_run_after_its_first_block_has_a_report_that_says_so(tmp_path: Path) -> None:
    plan = replace(PLAN, blocks=1)
    folder = make_run(tmp_path / "run", plan, CHOSEN[:2], LOADS[:1], finished=False)

    summary = build_report(folder, interim=True)

    html = (folder / "report.html").read_text()
    assert "This run is not complete" in html
    assert "No ranking: that needs 3 blocks" in html
    assert {cell["status"] for cell in summary["cells"]} == {"ok"}


def test_a_run_without_any_slice_still_has_a_report(tmp_path: Path) -> None:
    absent = [replace(truth, unavailable="uv is not installed") for truth in CHOSEN[:2]]
    folder = make_run(tmp_path / "run", PLAN, absent, LOADS[:1])
    for part in (folder / "slices.parquet").iterdir():
        part.unlink()
    for part in (folder / "histograms.parquet").iterdir():
        part.unlink()
    (folder / "events.jsonl").write_text("")

    summary = build_report(folder)

    assert {cell["status"] for cell in summary["cells"]} == {"unavailable"}
    assert "No subject gave a figure that may be compared" in (folder / "report.html").read_text()


def test_a_homepage_that_is_no_web_address_is_not_a_link(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", PLAN, CHOSEN[:1], LOADS[:1])
    text = (folder / "run.json").read_text().replace("https://uvicorn.example", "javascript:alert(1)")
    (folder / "run.json").write_text(text)

    page = make_page(folder)

    assert not [link for link in Page(page.read_text()).links if "javascript" in link]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run with every kind of load."""
    loads = [replace(LOADS[0], answer_bytes=64 << 10), STEADY, SEARCH, IDLE, BROADCAST, VISIT]
    figures = {"keep-alive": 900.0, "steady": 9e3, "search": 4e3}
    figures |= {"websocket-idle": 20.0, "websocket-broadcast": 200.0, "visit": 130.0}
    subjects = [replace(BY_ID[name], rates=figures) for name in ("uvicorn", "hypercorn")]
    made = make_run(tmp_path_factory.mktemp("mixed") / "run", replace(PLAN, rounds=12), subjects, loads)
    build_report(made, interim=True)
    return (made / "report.html").read_text()


def heads(html: str, level: str) -> list[str]:
    """The headings of a level's table of figures, the leading figure first."""
    section = html[html.index(f'<h3 id="{level}"') :]
    table = section[section.index('<table class="data level"') :]
    found = re.findall(r'<th scope="col" class="number"[^>]*>([^<]+)</th>', table[: table.index("<tbody>")])
    return [head for head in found if head not in {"Place", "95 % interval", "Blocks", "Requests"}]


def test_each_kind_of_load_has_its_own_figures_the_leading_one_first(mixed: str) -> None:
    assert heads(mixed, "steady-r2000")[:2] == ["Response time p99 (ms)", "Response time p50 (ms)"]
    assert {"Service time p50 (ms)", "Service time p99 (ms)"} <= set(heads(mixed, "steady-r2000"))
    assert heads(mixed, "search-p99-10ms")[0] == "Rate within the objective (requests/s)"
    assert not [head for head in heads(mixed, "search-p99-10ms") if "p50" in head]
    assert heads(mixed, "websocket-idle-idle4000") == [
        "Server memory of an idle connection (KiB)",
        "R² of the line",
        "Server memory, anonymous (MiB)",
    ]
    assert heads(mixed, "websocket-broadcast-c64")[0] == "Throughput (broadcasts/s)"
    assert "To the last subscriber p99 (ms)" in heads(mixed, "websocket-broadcast-c64")


def test_large_bodies_are_shown_in_mib_per_second_and_small_ones_are_not(mixed: str, html: str) -> None:
    assert heads(mixed, "keep-alive-c64")[1] == "Bodies, both ways (MiB/s)"
    assert "MiB/s" not in html


def test_each_level_is_headed_by_how_it_was_loaded(mixed: str) -> None:
    for title in (
        "steady, 2,000 requests/s over 64 connections",
        "search, p99 within 10 ms over 64 connections",
        "websocket-idle, up to 4,000 idle connections",
        "visit, 16 Locust users",
    ):
        headings = [words(each) for each in re.findall(r"<h3.*?</h3>", mixed)]
        assert [heading.replace(" ,", ",") for heading in headings].count(title) == 2


def test_a_verdict_on_a_figure_that_should_be_low_says_which_end_is_good(mixed: str) -> None:
    assert "Left over right: Response time p99 (ms), lower is better." in mixed
    assert "Left over right: Throughput (requests/s), higher is better." in mixed


def test_open_loops_are_explained_where_there_are_some(mixed: str, html: str) -> None:
    assert "In an open loop requests leave at their moments" in mixed
    assert "In an open loop requests leave at their moments" not in html


def test_a_narrow_screen_is_told_that_a_chart_can_be_scrolled(html: str) -> None:
    assert html.count("scroll the chart sideways") == html.count("<figure>")
    assert re.search(r"@media \(max-width:46\.5rem\) \{ \.narrow \{ display:block; \} \}", html)
