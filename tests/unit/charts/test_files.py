"""The files of a chart: light and dark, of a slide's size, under safe names, the same bytes each time."""

from __future__ import annotations

import json
import re
import struct
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from matplotlib.text import Text

from analysis.charts import registry
from analysis.charts.ranking import leading_charts
from analysis.charts.registry import CHARTS, charts, draw_all
from analysis.charts.rows import MOST_ROWS, Part, parts
from analysis.charts.style import DARK, DOTS_PER_INCH, darken
from analysis.charts.view import View
from analysis.figures.summary import summarize
from analysis.reading.run import load_run
from gatebench.words.model import Level
from tests.support.charts import (
    FIFTEEN,
    KEEP_ALIVE,
    PLAN,
    UVICORN,
    WAIT,
    Views,
    crowd,
    run_view,
    said,
    texts,
    texts_off_the_page,
)
from tests.support.synthetic import IDLE, STEADY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from analysis.charts.registry import Scope
    from analysis.charts.style import Chart

    Drawn = list[tuple[Chart, dict[str, bytes]]]
    Collected = tuple[list[registry.Drawing], Path]

LOADS = [
    KEEP_ALIVE,
    replace(KEEP_ALIVE, level=Level(8)),
    WAIT,
    IDLE,
    STEADY,
    replace(STEADY, level=Level(64, "open", rate_per_s=4_000)),
]
FEW = replace(PLAN, rounds=6)
HOSTILE = '<script>alert("$x$")</script>&'


def without_ids(svg: bytes) -> bytes:
    """Matplotlib makes the names of markers and hatches from what they look like, ink included."""
    return re.sub(rb"[hm][0-9a-f]{10}", b"", svg)


def every_chart(view: View) -> Iterator[Chart]:
    """Of a view of a whole run, in all scopes."""
    yield from charts("run", view)
    for name in dict.fromkeys(level.workload for level in view.levels):
        yield from charts("workload", View(view.run, [each for each in view.levels if each.workload == name]))
    for level in view.levels:
        yield from charts("level", View(view.run, [level]))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> View:
    """A run that has every kind of chart, with an overloaded and an invalid subject in it."""
    fast = replace(UVICORN, observed={"loop": "uvloop"})
    slow = replace(fast, id="slow", server="slow", rates={**UVICORN.rates, "steady": 500.0})
    idle = replace(UVICORN, id="idle", server="idle", cpu_share={"keep-alive": 0.5})
    framed = replace(UVICORN, id="uvicorn+flask", app="flask", rates={"keep-alive": 3_000.0})
    usual = replace(
        UVICORN,
        id="uvicorn-asyncio",
        variant="asyncio",
        rates={"keep-alive": 9_000.0},
        observed={"loop": "asyncio"},
    )
    return run_view(tmp_path_factory.mktemp("mixed"), [fast, usual, slow, idle, framed], LOADS, FEW)


@pytest.fixture(scope="module")
def drawn(mixed: View) -> Drawn:
    return [(chart, chart.files()) for chart in every_chart(mixed)]


@pytest.fixture(scope="module")
def collected(mixed: View, tmp_path_factory: pytest.TempPathFactory) -> Collected:
    """The same charts drawn again, as a report draws them, and the folder of their files."""
    folder = tmp_path_factory.mktemp("collected") / "charts"
    return collect(mixed, folder)[0], folder


def size(chart: Chart) -> tuple[int, int]:
    """Width and height of a chart in pixels, without drawing it."""
    width, height = chart.figure.get_size_inches() * DOTS_PER_INCH
    return int(width), int(height)


def test_a_run_with_all_loads_has_every_kind_of_chart(mixed: View) -> None:
    names: set[str] = set()
    scopes: dict[Scope, list[View]] = {
        "run": [mixed],
        "workload": [
            View(mixed.run, [level for level in mixed.levels if level.workload == name])
            for name in ("keep-alive", "steady", "wait")
        ],
        "level": [View(mixed.run, [level]) for level in mixed.levels],
    }
    for kind in CHARTS:
        names |= {kind.name for view in scopes[kind.scope] if kind.applies(view)}

    assert names == {kind.name for kind in CHARTS}


def test_no_two_charts_of_a_run_have_the_same_name(drawn: Drawn) -> None:
    stems = [chart.stem for chart, _ in drawn]

    assert len(stems) == len(set(stems)) > 15


def test_the_dark_vector_is_the_darkened_figure(drawn: Drawn) -> None:
    for chart, files in drawn:
        dark = files[f"{chart.stem}-dark.svg"]
        darken(chart.figure)
        assert without_ids(chart.svg()) == without_ids(dark), chart.stem
        assert not [ink for ink in DARK if ink.encode() in dark]


def test_the_same_data_give_the_same_bytes_in_every_file(collected: Collected, drawn: Drawn) -> None:
    _, folder = collected
    again = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert again == {name: content for _, files in drawn for name, content in files.items()}


def test_a_picture_has_the_size_of_its_figure(drawn: Drawn) -> None:
    for chart, files in drawn:
        for name in (f"{chart.stem}.png", f"{chart.stem}-dark.png"):
            assert struct.unpack(">II", files[name][16:24]) == size(chart)


def test_every_chart_has_four_files_and_words_for_those_who_cannot_see_it(drawn: Drawn) -> None:
    for chart, files in drawn:
        assert set(files) == {f"{chart.stem}{kind}" for kind in (".svg", ".png", "-dark.svg", "-dark.png")}
        assert files[f"{chart.stem}.png"] != files[f"{chart.stem}-dark.png"]
        assert chart.alt
        assert chart.title in texts(chart)


@pytest.mark.parametrize("count", [1, 15, MOST_ROWS, 40])
def test_no_page_is_higher_than_a_slide(views: Views, count: int) -> None:
    for chart in every_chart(views.of(crowd(count), KEEP_ALIVE, plan=FEW)):
        width, height = size(chart)
        assert width == 1920
        assert height <= 1080


@pytest.mark.parametrize("count", [MOST_ROWS, MOST_ROWS + 1])
def test_rows_that_do_not_fit_go_on_on_a_second_page(views: Views, count: int) -> None:
    pages = list(leading_charts(views.of(crowd(count), KEEP_ALIVE, plan=FEW)))

    assert [page.stem.removeprefix("throughput-keep-alive-c64") for page in pages] == ["", "-2"][: len(pages)]
    assert len(pages) == 1 + (count > MOST_ROWS)
    assert len({page.figure.axes[0].get_xlim() for page in pages}) == 1
    shown = [text for page in pages for text in texts(page)]
    assert [shown.count(f"server-{number}") for number in range(count)] == [1] * count


def test_no_text_is_smaller_than_a_projector_can_show(views: Views) -> None:
    for chart in every_chart(views.of(crowd(MOST_ROWS), KEEP_ALIVE, plan=FEW)):
        written = [text for text in chart.figure.findobj(Text) if isinstance(text, Text) and text.get_text()]
        assert min(float(text.get_fontsize()) for text in written) >= 11


def test_long_names_and_versions_stay_on_the_page(tmp_path: Path) -> None:
    long = replace(UVICORN, server="gunicorn", variant="a-long-variant")
    names = [f"gunicorn-a-long-variant-{number}+an-application" for number in range(7)]
    view = run_view(tmp_path, [replace(long, id=name) for name in names], [KEEP_ALIVE, STEADY], FEW)

    for chart in every_chart(view):
        assert texts_off_the_page(chart) == [], chart.stem


def test_pages_are_even_and_there_is_always_one() -> None:
    assert [len(part.items) for part in parts(range(50), 24)] == [17, 16, 17]
    assert parts([]) == [Part([], 1, 1)]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/root/x", "..", "a\\b", "nul\0", "\n"])
def test_no_name_of_a_run_leads_out_of_its_folder(name: str) -> None:
    stem = Part([]).stem(name)

    assert not set(stem) & set("/\\\0\n")
    assert not stem.startswith(".")


def test_what_a_run_calls_its_servers_is_neither_markup_nor_a_formula(tmp_path: Path) -> None:
    view = run_view(tmp_path, [replace(UVICORN, id="uvicorn")], [KEEP_ALIVE, STEADY], FEW)
    file = view.run.folder / "run.json"
    described = json.loads(file.read_text())
    described["subjects"][0] |= {"server": HOSTILE, "version": HOSTILE}
    described["machine"]["cpu"] = HOSTILE
    file.write_text(json.dumps(described))
    run = load_run(view.run.folder)

    for chart in every_chart(View(run, summarize(run).levels)):
        root = ET.fromstring(chart.svg().decode())  # noqa: S314 - matplotlib has just written it
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert "script" not in tags
        assert HOSTILE in said(chart)


def collect(view: View, folder: Path) -> tuple[list[registry.Drawing], set[str]]:
    def write(name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)

    folder.mkdir()
    drawn = draw_all(view.run, summarize(view.run), write)
    return drawn.drawings, {file.name for file in folder.iterdir()}


def test_every_chart_of_a_run_is_drawn_for_the_run_its_workloads_and_its_levels(
    collected: Collected, drawn: Drawn
) -> None:
    found, folder = collected
    files = {file.name for file in folder.iterdir()}

    assert {each.stem for each in found} == {chart.stem for chart, _ in drawn}
    assert len(files) == 4 * len(found)
    by_stem = {each.stem: (each.workload, each.level) for each in found}
    assert by_stem["memory"] == ("", "")
    assert by_stem["rate-steady"] == ("steady", "")
    assert by_stem["throughput-keep-alive-c64"] == ("keep-alive", "c64")
    svg = (folder / "memory.svg").read_bytes()
    assert next(each.svg for each in found if each.stem == "memory") == svg


def test_a_run_with_very_many_charts_has_the_first_kinds_as_png(
    mixed: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "MOST_AS_PNG", 3)
    monkeypatch.setattr(registry, "LARGE_AS_PNG", 2)
    found, files = collect(mixed, tmp_path / "charts")

    pictures = {name for name in files if name.endswith(".png") and "dark" not in name}
    assert pictures == {"throughput-keep-alive-c64.png", "throughput-keep-alive-c8.png"}
    assert len([name for name in files if name.endswith(".svg")]) == 2 * len(found)


def test_a_run_with_very_many_charts_has_those_that_lead_and_says_which_it_left_out(
    mixed: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)

    summary = summarize(mixed.run)
    monkeypatch.setattr(registry, "MOST_AS_PNG", 0)
    monkeypatch.setattr(registry, "LARGE_AS_PNG", 0)
    monkeypatch.setattr(registry, "MOST_DRAWN", len(summary.levels) + 2)
    drawn = draw_all(mixed.run, summary, write)

    assert sum(each.level != "" for each in drawn.drawings) == len(summary.levels)
    assert {each.stem for each in drawn.drawings if not each.workload} == {"memory", "steadiness"}
    assert drawn.left_out["latency"] > 0
    every = draw_all(mixed.run, summary, write, every=True)
    assert len(every.drawings) == len(drawn.drawings) + sum(drawn.left_out.values())
    assert not every.left_out


def test_charts_of_more_than_one_level_need_more_than_one(tmp_path: Path) -> None:
    view = run_view(tmp_path, FIFTEEN[:3], [KEEP_ALIVE], FEW)

    assert [chart.stem for chart in charts("workload", view)] == ["cpu-keep-alive"]
