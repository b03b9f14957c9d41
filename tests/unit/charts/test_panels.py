"""Charts of a panel a server: percentile curves, response time over rate, throughput over connections."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.patches import Rectangle

from analysis.charts.over_load import connection_charts, rate_charts
from analysis.charts.registry import charts, draw_all
from analysis.charts.style import color
from analysis.charts.times import distribution_charts
from analysis.figures.cells import level_data
from analysis.figures.percentiles import SHARES, at_shares, percentiles, quantiles, tails
from analysis.figures.summary import summarize
from gatebench.words.model import Level
from loadtests.engine.tally import QUANTILES, SAMPLES_BEYOND, percentile_us
from loadtests.swarm.totals import latency_us as told_us
from tests.support.charts import (
    FIFTEEN,
    KEEP_ALIVE,
    PLAN,
    UVICORN,
    Views,
    again,
    crowd,
    only,
    run_view,
    said,
    texts,
    texts_off_the_page,
)
from tests.support.summaries import all_rows
from tests.support.synthetic import BROADCAST, STEADY, SUBJECTS

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from analysis.charts.style import Chart
    from analysis.charts.view import View
    from tests.support.charts import Draw
    from tests.support.synthetic_model import Load

RATES = [replace(STEADY, level=Level(64, "open", rate_per_s=rate)) for rate in (1_000, 2_000, 4_000)]
CONNECTIONS = [replace(KEEP_ALIVE, level=Level(number)) for number in (8, 64, 256)]
SMALL = replace(PLAN, rounds=14)
SYNC = next(truth for truth in SUBJECTS if truth.id == "gunicorn-sync")
OTHER = replace(UVICORN, id="other", server="other", color="#336699")
ACROSS = [(rate_charts, RATES), (connection_charts, CONNECTIONS)]


def curve(axes: Axes, ink: str) -> npt.NDArray[np.float64]:
    """The longest line in that color, shape (points, 2)."""
    lines = [line for line in axes.lines if line.get_color() == ink and line.get_linestyle() == "-"]
    return max((np.array(line.get_xydata()) for line in lines), key=len)


def named(axes: Axes) -> str:
    """The server of a panel."""
    return next(text.get_text() for text in axes.texts if text.get_fontweight() == "bold")


def strips(chart: Chart) -> dict[str, bool]:
    """Server → whether a part of its panel is hatched."""
    return {named(axes): any(patch.get_hatch() for patch in axes.patches) for axes in chart.figure.axes}


def paint(view: View, subject: str) -> str:
    return color(view.meta.subject(subject))


@pytest.mark.parametrize("load", [KEEP_ALIVE, STEADY], ids=["closed", "open"])
def test_a_curve_goes_through_the_percentiles_of_the_summary(views: Views, load: Load) -> None:
    view = views.of([UVICORN], load)
    (axes,) = only(distribution_charts(view)).figure.axes

    drawn = dict(np.round(curve(axes, paint(view, "uvicorn")), 9))
    shown = {name: view.level.cells[0].figure(name) for name in ("p50", "p90", "p99")}
    assert None not in shown.values()
    for name, figure_us in shown.items():
        assert drawn[round(-np.log10(1 - QUANTILES[name]), 9)] == pytest.approx((figure_us or 0) / 1000)


def test_a_curve_ends_where_too_few_latencies_lie_beyond(views: Views) -> None:
    view = views.of([UVICORN], KEEP_ALIVE)
    tail = tails(level_data(view.run, view.level.plan), ["uvicorn"])["uvicorn"]

    samples = int(all_rows(view.run.histograms)["count"].sum())
    assert round((1 - tail.shares[-1]) * samples, 6) >= SAMPLES_BEYOND
    following = SHARES[len(tail.shares)]
    assert (1 - following) * samples < SAMPLES_BEYOND


def test_the_band_reaches_from_the_lowest_to_the_highest_block_and_holds_the_curve(views: Views) -> None:
    view = views.of([UVICORN], STEADY)
    tail = tails(level_data(view.run, view.level.plan), ["uvicorn"])["uvicorn"]

    assert len(tail.us) > 15
    assert (tail.low_us <= tail.us).all()
    assert (tail.us <= tail.high_us).all()
    assert (tail.low_us < tail.high_us).any()


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 5_000)), min_size=1, max_size=60))
def test_the_quantiles_of_curves_are_those_of_the_tables(rows: list[tuple[int, int]]) -> None:
    latency_us, count = np.array(rows).T
    names = list(QUANTILES)

    found = dict(zip(SHARES.tolist(), at_shares(latency_us, count, SAMPLES_BEYOND), strict=True))

    held = percentiles(latency_us, count)
    drawn = [found[QUANTILES[name]] for name in names]
    assert [None if np.isnan(value) else value for value in drawn] == [held.values[name] for name in names]


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 5_000)), min_size=1, max_size=60))
def test_the_quantiles_of_a_report_are_those_that_a_locust_test_tells(rows: list[tuple[int, int]]) -> None:
    latency_us, count = np.array(rows).T
    histogram: Counter[int] = Counter()
    for each_us, times in rows:
        histogram[each_us] += times

    found = quantiles(latency_us, count, SHARES.tolist())

    assert found.tolist() == [percentile_us(histogram, share) for share in SHARES.tolist()]
    assert percentiles(latency_us, count).values == told_us(histogram)


@pytest.mark.parametrize("load", [KEEP_ALIVE, STEADY, BROADCAST], ids=lambda load: load.name)
def test_every_valid_subject_has_its_name_at_the_end_of_its_curve(views: Views, load: Load) -> None:
    view = views.of(FIFTEEN, load)
    chart = only(distribution_charts(view))

    valid = [cell for cell in view.level.cells if cell.status == "ok"]
    assert {cell.subject.removeprefix(f"{cell.server}-") for cell in valid} <= set(texts(chart))
    assert texts_off_the_page(chart) == []


def test_more_servers_than_fit_go_on_on_a_further_page_at_the_same_scale(views: Views) -> None:
    pages = list(distribution_charts(views.of(crowd(26), KEEP_ALIVE)))

    assert [page.stem for page in pages] == [f"distribution-keep-alive-c64{end}" for end in ("", "-2", "-3")]
    assert [len(page.figure.axes) for page in pages] == [9, 8, 9]
    assert len({axes.get_ylim() for page in pages for axes in page.figure.axes}) == 1
    assert all("of 3)" in page.title for page in pages)
    assert [text for page in pages for text in texts_off_the_page(page)] == []


def test_another_application_and_more_than_five_variants_make_a_panel_of_their_own(tmp_path: Path) -> None:
    variants = [replace(UVICORN, id=f"uvicorn-{name}", variant=name) for name in "abcdef"]
    flask = replace(UVICORN, id="uvicorn+flask")
    view = run_view(tmp_path, [*variants, flask], [KEEP_ALIVE], SMALL)
    described = json.loads((view.run.folder / "run.json").read_text())
    described["subjects"][-1]["app"] = "flask"
    (view.run.folder / "run.json").write_text(json.dumps(described))
    chart = only(distribution_charts(again(view)))

    assert sorted(named(axes) for axes in chart.figure.axes) == ["uvicorn", "uvicorn+flask", "uvicorn, 2"]
    assert {*"abcdef", "uvicorn"} <= set(texts(chart))


def test_a_subject_with_withheld_response_times_has_no_curve_but_its_code(views: Views) -> None:
    view = views.of([UVICORN, replace(OTHER, busy_share=0.95)], KEEP_ALIVE)
    chart = only(distribution_charts(view))

    assert "other: withheld: generator-busy" in texts(chart)
    painted = [line.get_color() for axes in chart.figure.axes for line in axes.lines]
    assert paint(view, "uvicorn") in painted
    assert paint(view, "other") not in painted


def test_a_server_that_supports_nothing_of_it_is_named_in_the_caption(views: Views) -> None:
    chart = only(distribution_charts(views.of([UVICORN, SYNC], KEEP_ALIVE)))

    assert "Not supported by gunicorn." in said(chart)
    assert len(chart.figure.axes) == 1


@pytest.mark.parametrize(("draw", "loads"), ACROSS, ids=["rates", "connections"])
def test_a_line_holds_the_leading_figure_and_interval_of_every_level(
    views: Views, draw: Draw, loads: list[Load]
) -> None:
    view = views.of([UVICORN, OTHER], *loads, plan=SMALL)
    chart = only(draw(view))

    scale = view.level.metric.scale
    lines = [np.array(line.get_xydata()) for axes in chart.figure.axes for line in axes.lines]
    drawn = [curve(axes, paint(view, "uvicorn")) for axes in chart.figure.axes if named(axes) == "uvicorn"]
    for level in view.levels:
        lead = next(cell.lead for cell in level.cells if cell.subject == "uvicorn")
        x = level.plan.rate_per_s or level.plan.connections
        assert lead is not None
        assert lead.low is not None
        assert lead.high is not None
        whisker = np.array([[x, lead.low * scale], [x, lead.high * scale]])
        assert any(line.shape == (2, 2) and np.allclose(line, whisker) for line in lines)
        assert any(np.allclose(point, [x, lead.estimate * scale]) for point in drawn[0])


def test_the_rate_at_which_a_server_is_overloaded_is_marked_and_said(views: Views) -> None:
    slow = replace(OTHER, rates={"steady": 1_500.0})
    chart = only(rate_charts(views.of([UVICORN, slow], *RATES, plan=SMALL)))

    assert strips(chart) == {"uvicorn": False, "other": True}
    assert "other: overloaded at 2k, 4k" in texts(chart)
    assert chart.alt == "other is overloaded at 2,000 requests/s."


def test_a_server_that_is_overloaded_at_every_rate_has_no_line(views: Views) -> None:
    slow = replace(OTHER, rates={"steady": 100.0})
    view = views.of([UVICORN, slow], *RATES, plan=SMALL)
    chart = only(rate_charts(view))

    assert "other: overloaded" in texts(chart)
    (axes,) = (each for each in chart.figure.axes if named(each) == "other")
    assert np.isnan(curve(axes, paint(view, "other"))[:, 1]).all()


def test_levels_with_withheld_figures_stand_in_the_hatched_strip_with_their_code(views: Views) -> None:
    busy = replace(OTHER, busy_share=0.95)
    chart = only(connection_charts(views.of([UVICORN, busy], *CONNECTIONS, plan=SMALL)))

    assert "other: withheld: generator-busy" in texts(chart)
    assert strips(chart) == {"uvicorn": False, "other": True}


def test_limited_levels_are_drawn_hollow_and_named(views: Views) -> None:
    idle = replace(OTHER, cpu_share={"keep-alive": 0.5})
    view = views.of([UVICORN, idle], *CONNECTIONS, plan=SMALL)
    chart = only(connection_charts(view))

    assert "other: limited: server-idle" in texts(chart)
    assert strips(chart) == {"uvicorn": False, "other": False}
    (axes,) = (each for each in chart.figure.axes if named(each) == "other")
    assert not np.isnan(curve(axes, paint(view, "other"))[:, 1]).any()


def test_throughput_is_drawn_from_zero(views: Views) -> None:
    chart = only(connection_charts(views.of([UVICORN], *CONNECTIONS, plan=SMALL)))

    assert chart.figure.axes[0].get_ylim()[0] == 0


def test_messages_in_flight_are_told_from_connections(views: Views) -> None:
    loads = [replace(KEEP_ALIVE, level=Level(64, window=window)) for window in (1, 16)]
    chart = only(connection_charts(views.of([UVICORN], *loads, plan=SMALL)))

    assert chart.title == "Throughput against messages in flight: keep-alive"
    assert {"64", "1.02k"} <= set(texts(chart))


def test_where_nothing_is_valid_the_markers_stand_in_the_strip_all_the_same(tmp_path: Path) -> None:
    slow = [replace(each, rates={"steady": 100.0}) for each in (UVICORN, OTHER)]
    chart = only(rate_charts(run_view(tmp_path, slow, RATES, SMALL)))

    for axes in chart.figure.axes:
        (strip,) = (each for each in axes.patches if isinstance(each, Rectangle) and each.get_hatch())
        bottom = strip.get_y()  # of the panel's height, from 0 to 1
        markers = [line for line in axes.get_lines() if line.get_marker() not in {"None", ""}]
        heights = [
            axes.transData.transform(point) for line in markers for point in np.asarray(line.get_xydata())
        ]
        shares = [float(axes.transAxes.inverted().transform(point)[1]) for point in heights]
        assert len(shares) == len(RATES)
        assert all(bottom <= share <= 1 for share in shares)


@pytest.mark.parametrize(("draw", "loads"), [*ACROSS, (distribution_charts, [KEEP_ALIVE])])
def test_panels_with_nothing_valid_say_so(views: Views, draw: Draw, loads: list[Load]) -> None:
    absent = [replace(UVICORN, unavailable="uv is not installed")]

    chart = only(draw(views.of(absent, *loads, plan=SMALL)))

    assert "no valid figure" in texts(chart)
    assert "uvicorn: unavailable" in texts(chart)
    assert chart.png().startswith(b"\x89PNG")


@pytest.mark.parametrize("loads", [RATES, CONNECTIONS])
def test_a_workload_that_no_subject_supports_has_no_panels_and_stops_no_report(
    tmp_path: Path, loads: list[Load]
) -> None:
    elsewhere = replace(UVICORN, rates={"close": 5_000.0})
    view = run_view(tmp_path, [elsewhere, replace(OTHER, rates={"close": 6_000.0})], loads)
    assert {cell.status for level in view.levels for cell in level.cells} == {"unsupported"}
    assert {chart.stem.partition("-")[0] for chart in charts("workload", view)} <= {"cpu"}
    drawn = draw_all(view.run, summarize(view.run), lambda *_: None)
    assert drawn.drawings
