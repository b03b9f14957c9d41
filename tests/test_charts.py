"""The charts say what the result says, and stand up with one subject, with twenty, and with nothing valid."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from matplotlib.text import Text

from analysis.charts.frame import Chart
from analysis.charts.latency import latency_chart
from analysis.charts.throughput import throughput_chart
from analysis.charts.waiting import waiting_chart
from analysis.colors import PALETTE, color, variant_color
from analysis.load import load_run
from analysis.summary import summarize
from tests.synthetic import LOADS, SUBJECTS, Load, Plan, Truth, make_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from analysis.meta import RunMeta
    from analysis.results import LevelResult

    Draw = Callable[[RunMeta, LevelResult], Chart]

KEEP_ALIVE, WAIT = LOADS[0], LOADS[3]
UVICORN = next(truth for truth in SUBJECTS if truth.id == "uvicorn")
PLAN = Plan(blocks=3, rounds=4, slice_noise=0.01, block_noise=0.003)
EVERY_CHART = [(throughput_chart, KEEP_ALIVE), (latency_chart, KEEP_ALIVE), (waiting_chart, WAIT)]


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
            rates={"keep-alive": 1e4 - 200 * n, "wait": 4e3 - 90 * n},
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(("draw", "load"), EVERY_CHART)
@pytest.mark.parametrize("subjects", [[UVICORN], list(SUBJECTS), crowd(20)], ids=["one", "fifteen", "twenty"])
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
    caption = " ".join(" ".join(texts(draw(*measured(tmp_path, [UVICORN], load)))).split())

    for condition in (
        "This machine's figures: Intel Xeon",
        "64 connections",
        "3 of 3 blocks of 4 rounds",
        "2026-11-22",
    ):
        assert condition in caption


def test_throughput_shows_estimate_interval_and_place(tmp_path: Path) -> None:
    meta, level = measured(tmp_path, SUBJECTS, KEEP_ALIVE)
    shown = texts(throughput_chart(meta, level))

    rps = next(cell.rps for cell in level.cells if cell.subject == "granian-asgi")
    assert rps is not None
    assert f"{rps.estimate:,.0f}" in shown
    assert f"{rps.low:,.0f} to {rps.high:,.0f}" in shown
    assert "1" in shown


def test_an_invalid_cell_shows_its_code_and_no_figure(tmp_path: Path) -> None:
    idle = replace(UVICORN, cpu_share={"keep-alive": 0.5})
    meta, level = measured(tmp_path, [idle], KEEP_ALIVE)
    chart = throughput_chart(meta, level)

    rps = level.cells[0].rps
    assert rps is not None
    assert "invalid: server-idle" in texts(chart)
    assert f"{rps.estimate:,.0f}" not in texts(chart)
    assert any(patch.get_hatch() for patch in chart.figure.axes[0].patches)


def test_an_unsupported_cell_is_a_row_of_words_without_a_bar(tmp_path: Path) -> None:
    sync = next(truth for truth in SUBJECTS if truth.id == "gunicorn-sync")
    meta, level = measured(tmp_path, [UVICORN, sync], KEEP_ALIVE)
    chart = throughput_chart(meta, level)

    assert "unsupported: does not declare keep-alive" in texts(chart)
    assert len(chart.figure.axes[0].patches) == 1


@pytest.mark.parametrize(("second_rate", "tied"), [(12_000.0, True), (6_000.0, False)])
def test_subjects_that_cannot_be_told_apart_are_marked(
    tmp_path: Path, second_rate: float, tied: bool
) -> None:
    other = replace(UVICORN, id="other", server="other", rates={"keep-alive": second_rate})
    chart = throughput_chart(*measured(tmp_path, [UVICORN, other], KEEP_ALIVE))

    assert ("cannot be\ntold apart" in texts(chart)) == tied


def test_a_failure_with_a_long_log_stays_one_short_line(tmp_path: Path) -> None:
    died = {"block": 0, "subject": "uvicorn", "workload": None, "level": None, "code": "start"}
    chart = throughput_chart(
        *measured(tmp_path, [UVICORN], KEEP_ALIVE, failures=[died | {"text": "no " * 200}])
    )

    assert texts_off_the_page(chart) == []
    assert any(text.startswith("failed: start: block 1: no no") for text in texts(chart))


def test_waiting_requests_are_held_against_one_a_few_or_all_at_a_time(tmp_path: Path) -> None:
    shown = texts(waiting_chart(*measured(tmp_path, SUBJECTS, WAIT)))

    assert {"one at a time: 100", "4 threads: 400", "all 64: 6,400"} <= set(shown)
    assert "4 at once" in shown


def test_interfaces_differ_in_shape_and_not_only_in_color(tmp_path: Path) -> None:
    chart = throughput_chart(*measured(tmp_path, SUBJECTS, KEEP_ALIVE))

    assert {"WSGI", "ASGI"} <= set(texts(chart))
    assert {"s", "o"} <= {line.get_marker() for line in chart.figure.axes[0].lines}


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    meta, level = measured(tmp_path, [UVICORN], KEEP_ALIVE)

    assert throughput_chart(meta, level).svg() == throughput_chart(meta, level).svg()


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
