"""Charts of costs and of time: CPU a request, memory, steadiness."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from analysis.charts.costs import cpu_charts, memory_charts
from analysis.charts.registry import charts
from analysis.charts.steadiness import steadiness_charts
from analysis.charts.style import INK
from analysis.charts.view import View
from analysis.figures.statistics import mean_interval
from gatebench.words.model import Level
from tests.support.charts import (
    FIFTEEN,
    KEEP_ALIVE,
    PLAN,
    UVICORN,
    Views,
    again,
    crowd,
    lines,
    only,
    run_view,
    said,
    texts,
    texts_off_the_page,
)
from tests.support.synthetic import IDLE, LOADS, SEARCH, STEADY

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from tests.support.charts import Draw


CLOSE = LOADS[1]
OTHER = replace(UVICORN, id="other", server="other", color="#336699")
EVERY_CHART: list[Draw] = [cpu_charts, memory_charts, steadiness_charts]


def bars(axes: Axes) -> dict[str, list[float]]:
    """Widths of the bars, from the top down, of those that are hatched and of the others."""
    boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    ordered = sorted(boxes, key=lambda patch: patch.get_y())
    return {
        name: [patch.get_width() for patch in ordered if bool(patch.get_hatch()) == hatched]
        for name, hatched in (("valid", False), ("hatched", True))
    }


def changed(view: View, workload: str, column: str, *of_block: float) -> View:
    """The same run with other values in a column of one workload's slices, one value a block."""
    parts = sorted((view.run.folder / "slices.parquet").iterdir())
    for part, value in zip(parts, of_block, strict=True):
        slices = pd.read_parquet(part)
        slices.loc[slices["workload"] == workload, column] = value
        slices.to_parquet(part)
    return again(view)


@pytest.mark.parametrize("draw", EVERY_CHART)
def test_every_subject_is_named_and_every_text_on_the_page(views: Views, draw: Draw) -> None:
    chart = only(draw(views.of(FIFTEEN, KEEP_ALIVE)))

    assert all(truth.server in said(chart) for truth in FIFTEEN)
    assert texts_off_the_page(chart) == []


@pytest.mark.parametrize("draw", EVERY_CHART)
def test_a_chart_of_a_run_in_which_nothing_was_measured_says_so(views: Views, draw: Draw) -> None:
    absent = [replace(UVICORN, unavailable="uv is not installed")]
    view = views.of(absent, KEEP_ALIVE)

    assert "no valid figure" in texts(only(draw(view)))


@pytest.mark.parametrize("draw", EVERY_CHART)
def test_the_caption_holds_machine_blocks_and_run(views: Views, draw: Draw) -> None:
    caption = said(only(draw(views.of([UVICORN], KEEP_ALIVE, CLOSE))))

    for condition in ("This machine's figures: Intel Xeon", "3 of 3 blocks", "seed 7", "2026-11-22"):
        assert condition in caption


def test_cpu_bars_are_the_figures_of_the_summary_the_lowest_first(views: Views) -> None:
    slow = replace(OTHER, rates={"keep-alive": 6_000.0})
    view = views.of([slow, UVICORN], KEEP_ALIVE)
    chart = only(cpu_charts(view))

    figures = sorted(cell.cpu_us_per_request or 0.0 for cell in view.level.cells)
    assert bars(chart.figure.axes[0])["valid"] == figures
    assert f"{figures[0]:.1f}" in texts(chart)
    assert texts(chart).index("uvicorn") < texts(chart).index("other")


def test_the_cpu_interval_is_over_blocks_and_holds_the_figure(views: Views) -> None:
    view = views.of([UVICORN], KEEP_ALIVE)
    (axes,) = only(cpu_charts(view)).figure.axes

    figure = view.level.cells[0].cpu_us_per_request
    slices = view.run.slices.assign(requests=lambda each: each["completed"] + each["drained"])
    sums = slices.groupby("block")[["server_cpu_s", "requests"]].sum()
    _, low, high, _ = mean_interval(np.log((sums["server_cpu_s"] * 1e6 / sums["requests"]).to_numpy()))
    (ends,) = [line[:, 0] for line in lines(axes, ink=INK) if len(line) == 2]
    assert figure is not None
    assert ends == pytest.approx([np.exp(low), np.exp(high)])
    assert ends[0] < figure < ends[1]


def test_the_levels_of_a_workload_stand_side_by_side_in_the_same_scale(views: Views) -> None:
    rates = [replace(STEADY, level=Level(64, "open", rate_per_s=rate)) for rate in (1_000, 2_000)]
    view = views.of([UVICORN, OTHER], *rates)
    chart = only(cpu_charts(view))

    first, second = chart.figure.axes
    assert first.get_xlim() == second.get_xlim()
    assert {"1,000 requests/s", "2,000 requests/s"} <= set(texts(chart))
    for axes, level in zip((first, second), view.levels, strict=True):
        assert bars(axes)["valid"] == sorted(cell.cpu_us_per_request or 0.0 for cell in level.cells)


def test_more_levels_than_fit_go_on_on_a_second_page(tmp_path: Path) -> None:
    levels = [replace(KEEP_ALIVE, level=Level(number)) for number in (8, 16, 32, 64, 128)]
    pages = list(cpu_charts(run_view(tmp_path, [UVICORN], levels, replace(PLAN, rounds=4))))

    assert [page.stem for page in pages] == ["cpu-keep-alive", "cpu-keep-alive-2"]
    assert [len(page.figure.axes) for page in pages] == [2, 3]


def test_a_search_and_idle_connections_have_no_cost_of_a_request(views: Views) -> None:
    for load in (SEARCH, IDLE):
        view = views.of([UVICORN], load)
        assert [chart.stem for chart in charts("workload", view)] == []


@pytest.mark.parametrize("draw", [cpu_charts, memory_charts])
def test_what_spoils_the_throughput_alone_leaves_the_costs(views: Views, draw: Draw) -> None:
    busy = replace(OTHER, busy_share=0.95)
    chart = only(draw(views.of([UVICORN, busy], KEEP_ALIVE)))

    assert len(bars(chart.figure.axes[0])["valid"]) == 2


def test_the_cpu_time_of_a_server_that_closes_its_connections_is_hatched(views: Views) -> None:
    chart = only(cpu_charts(views.of([UVICORN, replace(OTHER, answers_per_closure=4)], KEEP_ALIVE)))

    assert [len(widths) for widths in bars(chart.figure.axes[0]).values()] == [1, 1]
    assert "Hatched: limited, and compared with nothing (reuse: it closes its connections)." in said(chart)


@pytest.mark.parametrize("draw", [cpu_charts, memory_charts])
def test_a_server_with_wrong_answers_has_no_costs(views: Views, draw: Draw) -> None:
    wrong = replace(OTHER, errors={"keep-alive": {"body": 1}})
    chart = only(draw(views.of([UVICORN, wrong], KEEP_ALIVE)))

    assert "withheld: wrong answers (wrong-body)" in texts(chart)
    assert len(bars(chart.figure.axes[0])["valid"]) == 1


@pytest.mark.parametrize("draw", [cpu_charts, memory_charts])
def test_what_could_not_be_read_is_no_bar(views: Views, draw: Draw) -> None:
    silent = replace(OTHER, measures_cpu=False)
    chart = only(draw(views.of([UVICORN, silent], KEEP_ALIVE)))

    assert len(bars(chart.figure.axes[0])["valid"]) == 1
    assert "not measured" in texts(chart)


@pytest.mark.parametrize(("draw", "stem"), [(cpu_charts, "cpu-keep-alive"), (memory_charts, "memory")])
def test_more_subjects_than_fit_go_on_on_a_second_page_at_the_same_scale(
    views: Views, draw: Draw, stem: str
) -> None:
    pages = list(draw(views.of(crowd(30), KEEP_ALIVE, plan=replace(PLAN, rounds=4))))

    assert [page.stem for page in pages] == [stem, f"{stem}-2"]
    assert len({page.figure.axes[0].get_xlim() for page in pages}) == 1


def test_memory_is_the_highest_of_the_levels_and_its_line_the_range_of_blocks(views: Views) -> None:
    view = views.of([UVICORN], KEEP_ALIVE, CLOSE)
    chart = only(memory_charts(changed(view, "close", "server_memory_mib", 40.0, 50.0, 45.0)))
    (axes,) = chart.figure.axes

    assert bars(axes)["valid"] == [50.0]
    assert [40.0, 50.0] in [line[:, 0].tolist() for line in lines(axes)]
    assert {"40.0 to 50.0", "close c64"} <= set(texts(chart))


def test_memory_under_a_level_with_wrong_answers_is_not_the_highest(views: Views) -> None:
    wrong = replace(UVICORN, errors={"close": {"body": 1}})
    view = views.of([wrong], KEEP_ALIVE, CLOSE)
    chart = only(memory_charts(changed(view, "close", "server_memory_mib", 500.0, 500.0, 500.0)))

    assert bars(chart.figure.axes[0])["valid"] == [pytest.approx(31.4)]


def test_memory_read_in_a_slice_that_others_disturbed_is_shown(tmp_path: Path) -> None:
    view = run_view(tmp_path, [UVICORN], [KEEP_ALIVE])
    for part in sorted((view.run.folder / "slices.parquet").iterdir()):
        slices = pd.read_parquet(part)
        last = slices["round"] == slices["round"].max()  # the only one of a block in which memory is read
        slices["server_memory_mib"] = slices["server_memory_mib"].where(last)
        slices.assign(shared=last, others_s=last * 0.01).to_parquet(part)
    view = again(view)

    assert view.level.cells[0].status == "ok"
    assert view.level.cells[0].reasons[0].startswith("left-out")
    assert bars(only(memory_charts(view)).figure.axes[0])["valid"] == [pytest.approx(31.4)]


def test_memory_of_idle_connections_is_not_mixed_with_that_under_load(views: Views) -> None:
    view = views.of([UVICORN], KEEP_ALIVE, IDLE)
    chart = only(memory_charts(view))

    assert max(cell.memory_mib or 0 for level in view.levels for cell in level.cells) > 100
    assert bars(chart.figure.axes[0])["valid"] == [pytest.approx(31.4)]


def test_the_second_copy_of_a_server_is_in_no_chart_of_the_run(tmp_path: Path) -> None:
    twin = replace(UVICORN, id="uvicorn~again")
    view = run_view(tmp_path, [UVICORN, twin], [KEEP_ALIVE])
    file = view.run.folder / "run.json"
    described = json.loads(file.read_text())
    described["subjects"][1]["twin_of"] = "uvicorn"
    file.write_text(json.dumps(described))
    view = again(view)

    for draw in EVERY_CHART:
        assert "again" not in said(only(draw(view)))
