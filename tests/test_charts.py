"""The charts say what the result says, and stand up with one subject, with twenty, and with nothing valid."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.text import Text

from analysis.charts.frame import Chart
from analysis.charts.latency import latency_chart
from analysis.charts.leading import leading_chart
from analysis.charts.response import response_chart
from analysis.charts.waiting import waiting_chart
from analysis.colors import PALETTE, color, variant_color
from analysis.load import load_run
from analysis.report import level_charts
from analysis.summary import summarize
from tests.synthetic import BROADCAST, IDLE, LOADS, SEARCH, STEADY, SUBJECTS, VISIT, make_run
from tests.synthetic_model import Load, Plan, Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from analysis.meta import RunMeta
    from analysis.results import LevelResult

    Draw = Callable[[RunMeta, LevelResult], Chart]

KEEP_ALIVE, WAIT = LOADS[0], LOADS[3]
UVICORN = next(truth for truth in SUBJECTS if truth.id == "uvicorn")
PLAN = Plan(blocks=3, rounds=12, slice_noise=0.01, block_noise=0.003)
FIGURES = {
    STEADY.name: 9_000.0,
    SEARCH.name: 4_000.0,
    IDLE.name: 20.0,
    BROADCAST.name: 200.0,
    VISIT.name: 130.0,
}
UVICORN = replace(UVICORN, rates={**UVICORN.rates, **FIGURES})
FIFTEEN = [
    replace(truth, rates={**truth.rates, **FIGURES}) if truth.interface == "asgi" else truth
    for truth in SUBJECTS
]
EVERY_CHART = [
    (leading_chart, KEEP_ALIVE),
    (latency_chart, KEEP_ALIVE),
    (waiting_chart, WAIT),
    (response_chart, STEADY),
    (leading_chart, SEARCH),
    (leading_chart, IDLE),
    (leading_chart, BROADCAST),
    (latency_chart, BROADCAST),
    (leading_chart, VISIT),
    (latency_chart, VISIT),
]


def measured(
    tmp_path: Path, subjects: Sequence[Truth], load: Load, **more: Any
) -> tuple[RunMeta, LevelResult]:
    run = load_run(make_run(tmp_path / "run", PLAN, subjects, [load], **more))
    return run.meta, summarize(run).levels[0]


def texts(chart: Chart) -> list[str]:
    return [
        text.get_text() for text in chart.figure.findobj(Text) if isinstance(text, Text) and text.get_text()
    ]


def texts_off_the_page(chart: Chart) -> list[str]:
    chart.figure.draw_without_rendering()
    width, height = chart.figure.get_size_inches() * chart.figure.dpi
    # A logarithmic axis keeps labels for ticks beyond its ends, which it does not draw.
    ticks = {label for axes in chart.figure.axes for label in axes.get_xticklabels(which="both")}
    drawn = [text for text in chart.figure.findobj(Text) if isinstance(text, Text) and text not in ticks]
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn if text.get_text()]
    return [text for text, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height]


def crowd(count: int) -> list[Truth]:
    return [
        replace(
            UVICORN,
            id=f"server-{n}",
            server=f"server-{n}",
            rates={"keep-alive": 1e4 - 200 * n, "wait": 4e3 - 90 * n, **FIGURES},
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(("draw", "load"), EVERY_CHART)
@pytest.mark.parametrize("subjects", [[UVICORN], FIFTEEN, crowd(20)], ids=["one", "fifteen", "twenty"])
def test_a_chart_names_every_subject_and_keeps_its_texts_on_the_page(
    tmp_path: Path, draw: Draw, load: Load, subjects: list[Truth]
) -> None:
    chart = draw(*measured(tmp_path, subjects, load))

    assert {truth.id for truth in subjects} <= set(texts(chart))
    assert texts_off_the_page(chart) == []


@pytest.mark.parametrize(("draw", "load"), EVERY_CHART)
def test_a_chart_with_nothing_valid_says_so(tmp_path: Path, draw: Draw, load: Load) -> None:
    absent = [replace(UVICORN, unavailable="uv is not installed")]

    chart = draw(*measured(tmp_path, absent, load))

    assert "no valid figure" in texts(chart)
    assert "unavailable: uv is not installed" in texts(chart)
    assert chart.png().startswith(b"\x89PNG")


@pytest.mark.parametrize(("draw", "load"), EVERY_CHART)
def test_the_caption_holds_the_conditions_of_the_run(tmp_path: Path, draw: Draw, load: Load) -> None:
    meta, level = measured(tmp_path, [UVICORN], load)
    caption = " ".join(" ".join(texts(draw(meta, level))).split())

    for condition in (
        "This machine's figures: Intel Xeon",
        level.plan.load,
        "3 of 3 blocks",
        "2026-11-22",
    ):
        assert condition in caption


def test_throughput_shows_estimate_interval_and_place(tmp_path: Path) -> None:
    meta, level = measured(tmp_path, SUBJECTS, KEEP_ALIVE)
    shown = texts(leading_chart(meta, level))

    rps = next(cell.rps for cell in level.cells if cell.subject == "granian-asgi")
    assert rps is not None
    assert f"{rps.estimate:,.0f}" in shown
    assert f"{rps.low:,.0f} to {rps.high:,.0f}" in shown
    assert "1" in shown


def test_an_invalid_cell_shows_its_code_and_no_figure(tmp_path: Path) -> None:
    idle = replace(UVICORN, cpu_share={"keep-alive": 0.5})
    meta, level = measured(tmp_path, [idle], KEEP_ALIVE)
    chart = leading_chart(meta, level)

    rps = level.cells[0].rps
    assert rps is not None
    assert "invalid: server-idle" in texts(chart)
    assert f"{rps.estimate:,.0f}" not in texts(chart)
    assert any(patch.get_hatch() for patch in chart.figure.axes[0].patches)


def test_an_unsupported_cell_is_a_row_of_words_without_a_bar(tmp_path: Path) -> None:
    sync = next(truth for truth in SUBJECTS if truth.id == "gunicorn-sync")
    meta, level = measured(tmp_path, [UVICORN, sync], KEEP_ALIVE)
    chart = leading_chart(meta, level)

    assert "unsupported: does not declare keep-alive" in texts(chart)
    assert len(chart.figure.axes[0].patches) == 1


@pytest.mark.parametrize(("second_rate", "tied"), [(12_000.0, True), (6_000.0, False)])
def test_subjects_that_cannot_be_told_apart_are_marked(
    tmp_path: Path, second_rate: float, tied: bool
) -> None:
    other = replace(UVICORN, id="other", server="other", rates={"keep-alive": second_rate})
    chart = leading_chart(*measured(tmp_path, [UVICORN, other], KEEP_ALIVE))

    assert ("cannot be\ntold apart" in texts(chart)) == tied


def test_a_failure_with_a_long_log_stays_one_short_line(tmp_path: Path) -> None:
    died = {"block": 0, "subject": "uvicorn", "workload": None, "level": None, "code": "start"}
    chart = leading_chart(*measured(tmp_path, [UVICORN], KEEP_ALIVE, failures=[died | {"text": "no " * 200}]))

    assert texts_off_the_page(chart) == []
    assert any(text.startswith("failed: start: block 1: no no") for text in texts(chart))


def test_waiting_requests_are_held_against_one_a_few_or_all_at_a_time(tmp_path: Path) -> None:
    shown = texts(waiting_chart(*measured(tmp_path, SUBJECTS, WAIT)))

    assert {"one at a time: 100", "4 threads: 400", "all 64: 6,400"} <= set(shown)
    assert "4 at once" in shown


def test_interfaces_differ_in_shape_and_not_only_in_color(tmp_path: Path) -> None:
    chart = leading_chart(*measured(tmp_path, SUBJECTS, KEEP_ALIVE))

    assert {"WSGI", "ASGI"} <= set(texts(chart))
    assert {"s", "o"} <= {line.get_marker() for line in chart.figure.axes[0].lines}


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    meta, level = measured(tmp_path, [UVICORN], KEEP_ALIVE)

    assert leading_chart(meta, level).svg() == leading_chart(meta, level).svg()


def test_the_servers_of_this_repository_have_different_colors() -> None:
    servers = ("gunicorn", "uwsgi", "mod_wsgi", "uvicorn", "daphne", "hypercorn", "granian", "waitress")

    assert len({variant_color(server, "default") for server in servers}) == len(servers)


def test_the_subjects_of_this_repository_have_different_colors() -> None:
    assert len({variant_color(truth.server, truth.variant) for truth in SUBJECTS}) == len(SUBJECTS)


def test_an_unknown_server_gets_a_color_of_the_palette() -> None:
    assert variant_color("my-own-server", "default") in PALETTE


def test_a_color_from_server_toml_wins(tmp_path: Path) -> None:
    meta, _ = measured(tmp_path, [replace(UVICORN, color="#123456")], KEEP_ALIVE)

    assert color(meta.subject("uvicorn")) == "#123456"


@pytest.mark.parametrize(("draw", "load"), EVERY_CHART)
@pytest.mark.parametrize("count", [2, 15, 20])
def test_the_caption_keeps_off_the_axis(tmp_path: Path, draw: Draw, load: Load, count: int) -> None:
    figure = draw(*measured(tmp_path, crowd(count), load)).figure
    figure.draw_without_rendering()

    ticks = [label for label in figure.axes[0].get_xticklabels() if label.get_text()]
    caption = max(figure.texts, key=lambda text: text.get_text().count("\n"))
    assert caption.get_window_extent().y1 < min(label.get_window_extent().y0 for label in ticks)


@pytest.mark.parametrize(
    ("count", "height"), [(1, (4.5, 4.6)), (2, (4.5, 5.0)), (6, (6.5, 7.5)), (15, (9, 9))]
)
def test_a_few_rows_make_a_low_page(tmp_path: Path, count: int, height: tuple[float, float]) -> None:
    chart = leading_chart(*measured(tmp_path, crowd(count), KEEP_ALIVE))

    width_in, height_in = chart.figure.get_size_inches()
    assert width_in == 16
    assert height[0] <= height_in <= height[1]


def test_an_open_loop_shows_the_percentiles_the_interval_and_the_place(tmp_path: Path) -> None:
    slow = replace(UVICORN, id="slow", server="slow", p99_us={"steady": 9_000.0})
    meta, level = measured(tmp_path, [UVICORN, slow], STEADY)
    chart = response_chart(meta, level)

    shown = texts(chart)
    lead = level.cells[0].lead
    assert chart.stem == "response-steady-r2000"
    assert lead is not None
    assert lead.low is not None
    assert lead.high is not None
    assert f"{lead.estimate / 1000:.2f}" in shown
    assert f"{lead.low / 1000:.2f} to {lead.high / 1000:.2f}" in shown
    assert {"p50", "p90", "p99", "1", "2"} <= set(shown)
    drawn = [np.asarray(line.get_xdata()).ravel().tolist() for line in chart.figure.axes[0].lines]
    assert pytest.approx([lead.low / 1000, lead.high / 1000]) in [ends for ends in drawn if len(ends) == 2]


def test_the_subjects_of_an_open_loop_stand_in_the_order_of_their_p99(tmp_path: Path) -> None:
    others = [
        replace(UVICORN, id=name, server=name, p99_us={"steady": p99_us})
        for name, p99_us in (("middle", 6_000.0), ("best", 3_000.0), ("worst", 12_000.0))
    ]
    shown = texts(response_chart(*measured(tmp_path, others, STEADY)))

    assert sorted(["middle", "best", "worst"], key=shown.index) == ["best", "middle", "worst"]


def test_an_overloaded_subject_is_named_and_not_drawn(tmp_path: Path) -> None:
    over = replace(UVICORN, id="over", server="over", rates={"steady": 1_000.0})
    meta, level = measured(tmp_path, [UVICORN, over], STEADY)
    chart = response_chart(meta, level)

    assert "overloaded at this rate (invalid: rate-missed)" in texts(chart)
    alone = response_chart(*measured(tmp_path / "alone", [UVICORN], STEADY))
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
def test_a_leading_figure_is_drawn_in_its_own_unit(tmp_path: Path, load: Load, stem: str, unit: str) -> None:
    meta, level = measured(tmp_path, [UVICORN], load)
    chart = leading_chart(meta, level)

    lead = level.cells[0].lead
    assert lead is not None
    assert chart.stem == stem
    assert any(text.startswith(unit) for text in texts(chart))
    assert level.metric.show(lead.estimate) in texts(chart)


def test_a_valid_subject_without_a_leading_figure_says_so(tmp_path: Path) -> None:
    silent = replace(UVICORN, measures_cpu=False)
    chart = leading_chart(*measured(tmp_path, [silent], IDLE))

    assert "no figure: see the notes" in texts(chart)


def test_a_broadcast_shows_the_delay_to_the_last_subscriber(tmp_path: Path) -> None:
    meta, level = measured(tmp_path, [UVICORN], BROADCAST)
    shown = texts(latency_chart(meta, level))

    assert "last p50" in shown  # a p99 needs more broadcasts than there are here
    assert f"{(level.cells[0].last_us['p50'] or 0) / 1000:.2f}" in shown


@pytest.mark.parametrize(
    ("load", "kinds"),
    [
        (KEEP_ALIVE, ["throughput", "latency"]),
        (WAIT, ["waiting", "latency"]),
        (STEADY, ["response"]),
        (SEARCH, ["objective"]),
        (IDLE, ["idle"]),
        (BROADCAST, ["throughput", "latency"]),
        (VISIT, ["throughput", "latency"]),
    ],
    ids=lambda value: value.name if isinstance(value, Load) else None,
)
def test_each_kind_of_load_has_its_own_charts(tmp_path: Path, load: Load, kinds: list[str]) -> None:
    drawn = level_charts(*measured(tmp_path, [UVICORN], load))

    assert [chart.stem.partition("-")[0] for chart in drawn] == kinds
