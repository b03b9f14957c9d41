"""The charts say what the result says, and stand up with one subject, with twenty, and with nothing valid."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from matplotlib.markers import TICKLEFT

from analysis.charts.ranking import _marks, leading_charts, waiting_charts
from analysis.charts.registry import charts
from analysis.charts.rows import lanes_of
from analysis.charts.times import latency_charts, response_charts
from analysis.figures.results import Standing, tied_runs
from analysis.figures.statistics import Estimate
from tests.support.charts import (
    FIFTEEN,
    KEEP_ALIVE,
    UVICORN,
    WAIT,
    Draw,
    Views,
    crowd,
    level_view,
    only,
    said,
    texts,
    texts_off_the_page,
    texts_on_others,
)
from tests.support.synthetic import BROADCAST, IDLE, SEARCH, STEADY, SUBJECTS, VISIT
from tests.support.synthetic_model import Load, Truth

if TYPE_CHECKING:
    from pathlib import Path

    from analysis.figures.results import CellResult

EVERY_CHART = [
    (leading_charts, KEEP_ALIVE),
    (latency_charts, KEEP_ALIVE),
    (waiting_charts, WAIT),
    (response_charts, STEADY),
    (leading_charts, SEARCH),
    (leading_charts, IDLE),
    (leading_charts, BROADCAST),
    (latency_charts, BROADCAST),
    (leading_charts, VISIT),
    (latency_charts, VISIT),
]


@pytest.mark.parametrize(("draw", "load"), EVERY_CHART)
@pytest.mark.parametrize("subjects", [[UVICORN], FIFTEEN, crowd(20)], ids=["one", "fifteen", "twenty"])
def test_a_chart_names_every_subject_and_keeps_its_texts_on_the_page(
    views: Views, draw: Draw, load: Load, subjects: list[Truth]
) -> None:
    chart = only(draw(views.of(subjects, load)))

    assert {truth.id for truth in subjects} <= set(texts(chart))
    assert texts_off_the_page(chart) == []


@pytest.mark.parametrize(("draw", "load"), EVERY_CHART)
def test_a_chart_with_nothing_valid_says_so(views: Views, draw: Draw, load: Load) -> None:
    absent = [replace(UVICORN, unavailable="uv is not installed")]

    chart = only(draw(views.of(absent, load)))

    assert "no valid figure" in texts(chart)
    assert "unavailable: uv is not installed" in texts(chart)
    assert chart.png().startswith(b"\x89PNG")


@pytest.mark.parametrize(("draw", "load"), EVERY_CHART)
def test_the_caption_holds_the_conditions_of_the_run(views: Views, draw: Draw, load: Load) -> None:
    view = views.of([UVICORN], load)
    caption = " ".join(" ".join(texts(only(draw(view)))).split())

    for condition in (
        "This machine's figures: Intel Xeon",
        view.level.plan.load,
        "3 of 3 blocks",
        "2026-11-22",
    ):
        assert condition in caption


def test_throughput_shows_estimate_interval_and_place(views: Views) -> None:
    view = views.of(SUBJECTS, KEEP_ALIVE)
    shown = texts(only(leading_charts(view)))

    rps = next(cell.rps for cell in view.level.cells if cell.subject == "granian-asgi")
    assert rps is not None
    assert f"{rps.estimate:,.0f}" in shown
    assert f"{rps.low:,.0f} to {rps.high:,.0f}" in shown
    assert "1" in shown


def test_a_limited_figure_is_hatched_with_its_figure_and_its_code_for_a_place(views: Views) -> None:
    idle = replace(UVICORN, cpu_share={"keep-alive": 0.5})
    view = views.of([idle], KEEP_ALIVE)
    chart = only(leading_charts(view))

    rps = view.level.cells[0].rps
    assert rps is not None
    assert {f"{rps.estimate:,.0f}", "server-idle"} <= set(texts(chart))
    assert "limited, and compared with nothing (server-idle: it left its core idle)." in said(chart)
    assert any(patch.get_hatch() for patch in chart.figure.axes[0].patches)


def test_a_withheld_figure_is_a_row_of_words_without_a_bar(views: Views) -> None:
    chart = only(leading_charts(views.of([replace(UVICORN, busy_share=0.95)], KEEP_ALIVE)))

    assert "withheld: the load engine was busy (generator-busy)" in texts(chart)
    assert not chart.figure.axes[0].patches


def test_an_unsupported_cell_is_a_row_of_words_without_a_bar(views: Views) -> None:
    sync = next(truth for truth in SUBJECTS if truth.id == "gunicorn-sync")
    view = views.of([UVICORN, sync], KEEP_ALIVE)
    chart = only(leading_charts(view))

    assert "unsupported: does not declare keep-alive" in texts(chart)
    assert len(chart.figure.axes[0].patches) == 1


@pytest.mark.parametrize(("second_rate", "tied"), [(12_000.0, True), (6_000.0, False)])
def test_subjects_that_cannot_be_told_apart_are_bracketed(
    views: Views, second_rate: float, tied: bool
) -> None:
    other = replace(UVICORN, id="other", server="other", rates={"keep-alive": second_rate})
    chart = only(leading_charts(views.of([UVICORN, other], KEEP_ALIVE)))

    brackets = [line for line in chart.figure.axes[0].lines if line.get_marker() == TICKLEFT]
    assert len(brackets) == tied
    assert ("ties" in texts(chart)) == tied


def row(subject: str, *ties: str) -> Standing:
    cell = cast("CellResult", SimpleNamespace(subject=subject))
    return Standing(cell, best=1, worst=1, leads=False, ties=frozenset(ties))


def test_a_bracket_holds_only_neighbors_that_all_tie_with_each_other() -> None:
    # b ties with a and with c, and a does not tie with c; e ties with d; f stands apart.
    rows = [row("a", "b"), row("b", "a", "c"), row("c", "b"), row("d", "e"), row("e", "d"), row("f")]

    assert tied_runs(rows) == [(0, 1), (1, 2), (3, 4)]
    assert tied_runs([]) == tied_runs([row("f"), row("g")]) == []


def test_a_bracket_within_another_is_not_drawn() -> None:
    assert tied_runs([row("a", "b", "c"), row("b", "a", "c"), row("c", "a", "b")]) == [(0, 2)]


def test_brackets_that_overlap_stand_beside_each_other() -> None:
    assert lanes_of([(0, 3), (2, 5), (4, 6), (7, 8)]) == [0, 1, 0, 0]


def test_a_failure_with_a_long_log_stays_one_short_line(tmp_path: Path) -> None:
    died = {"block": 0, "subject": "uvicorn", "workload": None, "level": None, "code": "start"}
    chart = only(
        leading_charts(level_view(tmp_path, [UVICORN], KEEP_ALIVE, failures=[died | {"text": "no " * 200}]))
    )

    assert texts_off_the_page(chart) == []
    assert any(text.startswith("failed: start: block 1: no no") for text in texts(chart))


def test_waiting_requests_are_held_against_one_a_few_or_all_at_a_time(views: Views) -> None:
    view = views.of(SUBJECTS, WAIT)
    shown = texts(only(waiting_charts(view)))

    assert {"one at a time: 100", "4 threads: 400", "all 64: 6,400"} <= set(shown)
    assert {"requests/s", "95 % interval", "at once"} <= set(shown)
    assert {f"{(cell.figure('rps') or 0) * 0.01:.0f}" for cell in view.level.cells} <= set(shown)


def test_requests_that_wait_stand_in_the_order_of_their_throughput(views: Views) -> None:
    view = views.of(SUBJECTS, WAIT)
    shown = texts(only(waiting_charts(view)))

    names = [cell.subject for cell in sorted(view.level.cells, key=lambda cell: -(cell.figure("rps") or 0))]
    assert sorted(names, key=shown.index) == names
    interfaces = {name: cell.interface for name in names for cell in view.level.cells if cell.subject == name}
    assert [interfaces[name] for name in names] != sorted(interfaces.values())
    assert [interfaces[name] for name in names] != sorted(interfaces.values(), reverse=True)


def test_the_columns_of_requests_that_wait_keep_off_the_edge_and_off_what_the_dotted_lines_say(
    views: Views,
) -> None:
    figure = only(waiting_charts(views.of(SUBJECTS, WAIT))).figure
    figure.draw_without_rendering()

    boxes = {text.get_text(): text.get_window_extent() for text in figure.axes[0].texts}
    margin = figure.texts[0].get_window_extent().x0
    assert max(box.x1 for box in boxes.values()) <= figure.get_size_inches()[0] * figure.dpi - margin + 1
    assert boxes["all 64: 6,400"].x1 < boxes["requests/s"].x0
    assert boxes["requests/s"].x1 < boxes["95 % interval"].x0
    assert boxes["95 % interval"].x1 < boxes["at once"].x0


def test_with_several_workers_waiting_requests_are_held_against_what_all_of_them_hold() -> None:
    marks = _marks(2, 4, 64, 0.01)
    assert marks == {"one in each of 2 workers": 200, "2 × 4 threads": 800, "all 64": 6_400}


def test_interfaces_differ_in_shape_and_not_only_in_color(views: Views) -> None:
    chart = only(leading_charts(views.of(SUBJECTS, KEEP_ALIVE)))

    assert {"WSGI", "ASGI"} <= set(texts(chart))
    assert {"s", "o"} <= {line.get_marker() for line in chart.figure.axes[0].lines}


def test_the_same_data_give_the_same_bytes(views: Views) -> None:
    view = views.of([UVICORN], KEEP_ALIVE)

    assert only(leading_charts(view)).svg() == only(leading_charts(view)).svg()


@pytest.mark.parametrize(("draw", "load"), EVERY_CHART)
@pytest.mark.parametrize("subjects", [crowd(2), FIFTEEN, crowd(20)], ids=["two", "fifteen", "twenty"])
def test_the_caption_keeps_off_the_axis(views: Views, draw: Draw, load: Load, subjects: list[Truth]) -> None:
    figure = only(draw(views.of(subjects, load))).figure
    figure.draw_without_rendering()

    ticks = [label for label in figure.axes[0].get_xticklabels() if label.get_text()]
    caption = max(figure.texts, key=lambda text: text.get_text().count("\n"))
    assert caption.get_window_extent().y1 < min(label.get_window_extent().y0 for label in ticks)


@pytest.mark.parametrize(
    ("count", "height"), [(1, (4.5, 4.6)), (2, (4.5, 5.0)), (6, (6.5, 7.5)), (15, (9, 9))]
)
def test_a_few_rows_make_a_low_page(views: Views, count: int, height: tuple[float, float]) -> None:
    chart = only(leading_charts(views.of(crowd(count), KEEP_ALIVE)))

    width_in, height_in = chart.figure.get_size_inches()
    assert width_in == 16
    assert height[0] <= height_in <= height[1]


def test_an_open_loop_shows_the_percentiles_the_interval_and_the_place(views: Views) -> None:
    slow = replace(UVICORN, id="slow", server="slow", p99_us={"steady": 9_000.0})
    view = views.of([UVICORN, slow], STEADY)
    chart = only(response_charts(view))

    shown = texts(chart)
    lead = view.level.cells[0].lead
    assert chart.stem == "response-steady-r2000"
    assert lead is not None
    assert lead.low is not None
    assert lead.high is not None
    assert f"{lead.estimate / 1000:.2f}" in shown
    assert f"{lead.low / 1000:.2f} to {lead.high / 1000:.2f}" in shown
    assert {"p50", "p90", "p99", "1", "2"} <= set(shown)
    drawn = [np.asarray(line.get_xdata()).ravel().tolist() for line in chart.figure.axes[0].lines]
    assert pytest.approx([lead.low / 1000, lead.high / 1000]) in [ends for ends in drawn if len(ends) == 2]


@pytest.mark.parametrize("p99_us", [3_456.0, 345_678.0, 3_456_789.0])
def test_the_columns_of_an_open_loop_keep_off_each_other_however_wide_their_numbers(
    views: Views, p99_us: float
) -> None:
    view = views.of([UVICORN], STEADY)
    low_us, high_us = 0.8 * p99_us, 1.4 * p99_us
    lead = Estimate(p99_us, low_us, high_us, 5)
    shares = {"p50": 0.7, "p90": 0.9, "p99": 1.0}
    typical = {
        name: Estimate(share * p99_us, share * low_us, share * high_us, 5) for name, share in shares.items()
    }
    cell = replace(view.level.cells[0], lead=lead, typical=typical)
    chart = only(response_charts(replace(view, levels=[replace(view.level, cells=(cell,))])))

    assert f"{low_us / 1000:,.2f} to {high_us / 1000:,.2f}" in texts(chart)
    assert texts_on_others(chart) == []
    assert texts_off_the_page(chart) == []


def test_an_open_loop_shows_the_places_by_each_percentile(views: Views) -> None:
    p99_us = (3_000.0, 6_000.0)
    named = [
        replace(UVICORN, id=name, server=name, p99_us={"steady": each})
        for name, each in zip(("best", "worst"), p99_us, strict=True)
    ]
    chart = only(response_charts(views.of(named, STEADY)))

    assert texts(chart).count("place") == 3
    assert [text for text in texts(chart) if text in {"1", "2"}] == ["1", "2"] * 3
    assert texts_on_others(chart) == []
    assert "best has the lowest p50 of the response time" in chart.alt
    assert "Told apart, of 1 pair: 1 by p50, 1 by p90 and 1 by p99." in chart.alt


def test_the_subjects_of_an_open_loop_stand_in_the_order_of_their_p99(views: Views) -> None:
    others = [
        replace(UVICORN, id=name, server=name, p99_us={"steady": p99_us})
        for name, p99_us in (("middle", 6_000.0), ("best", 3_000.0), ("worst", 12_000.0))
    ]
    shown = texts(only(response_charts(views.of(others, STEADY))))

    assert sorted(["middle", "best", "worst"], key=shown.index) == ["best", "middle", "worst"]


def test_an_overloaded_subject_is_named_and_not_drawn(views: Views) -> None:
    over = replace(UVICORN, id="over", server="over", rates={"steady": 1_000.0})
    view = views.of([UVICORN, over], STEADY)
    chart = only(response_charts(view))

    assert "withheld: overloaded at this rate (rate-missed)" in texts(chart)
    alone = only(response_charts(views.of([UVICORN], STEADY)))
    drawn = [len(each.figure.axes[0].lines) for each in (chart, alone)]
    assert drawn[0] == drawn[1] + 1  # the marker of its interface


@pytest.mark.parametrize(
    ("load", "stem", "unit"),
    [
        (SEARCH, "objective-search-p99-10ms", "requests/s, higher is better"),
        (IDLE, "idle-memory-websocket-idle-idle4000", "KiB, lower is better"),
        (BROADCAST, "throughput-websocket-broadcast-c64", "broadcasts/s, higher is better"),
        (VISIT, "throughput-visit-users16", "requests/s, higher is better"),
    ],
)
def test_a_leading_figure_is_drawn_in_its_own_unit(views: Views, load: Load, stem: str, unit: str) -> None:
    view = views.of([UVICORN], load)
    chart = only(leading_charts(view))

    lead = view.level.cells[0].lead
    assert lead is not None
    assert chart.stem == stem
    assert any(text.startswith(unit) for text in texts(chart))
    assert view.level.metric.show(lead.estimate) in texts(chart)


def test_a_valid_subject_without_a_leading_figure_says_so(views: Views) -> None:
    silent = replace(UVICORN, measures_cpu=False)
    chart = only(leading_charts(views.of([silent], IDLE)))

    assert "no figure: see the notes" in texts(chart)


def test_a_broadcast_shows_the_delay_to_the_last_subscriber(views: Views) -> None:
    view = views.of([UVICORN], BROADCAST)
    shown = texts(only(latency_charts(view)))

    assert "last p50" in shown  # a p99 needs more broadcasts than there are here
    assert f"{(view.level.cells[0].last_us['p50'] or 0) / 1000:.2f}" in shown


@pytest.mark.parametrize(
    ("load", "kinds"),
    [
        (KEEP_ALIVE, ["throughput", "latency", "distribution"]),
        (WAIT, ["waiting", "latency", "distribution"]),
        (STEADY, ["response", "distribution"]),
        (SEARCH, ["objective"]),
        (IDLE, ["idle"]),
        (BROADCAST, ["throughput", "latency", "distribution"]),
        (VISIT, ["throughput", "latency", "distribution"]),
    ],
    ids=lambda value: value.name if isinstance(value, Load) else None,
)
def test_each_kind_of_load_has_its_own_charts(views: Views, load: Load, kinds: list[str]) -> None:
    drawn = charts("level", views.of([UVICORN], load))

    assert [chart.stem.partition("-")[0] for chart in drawn] == kinds
