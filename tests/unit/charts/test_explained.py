"""What a chart explains is there to be seen: hatching, strips, the common drift, dashes among the figures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from analysis.charts.costs import cpu_charts
from analysis.charts.over_load import connection_charts, rate_charts
from analysis.charts.ranking import leading_charts, waiting_charts
from analysis.charts.steadiness import steadiness_charts
from analysis.charts.style import INK
from analysis.charts.times import latency_charts, response_charts
from analysis.figures.steadiness import MIN_COMPANY
from gatebench.words.model import Level
from tests.support.charts import (
    KEEP_ALIVE,
    PLAN,
    UVICORN,
    WAIT,
    Views,
    crowd,
    lines,
    only,
    said,
    texts,
)
from tests.support.synthetic import BROADCAST, STEADY

if TYPE_CHECKING:
    from tests.support.charts import Draw
    from tests.support.synthetic_model import Load, Plan, Truth

BAD = replace(UVICORN, id="bad", server="bad", listen_drops=9, answers_per_closure=4)
BUSY = replace(UVICORN, id="bad", server="bad", busy_share=0.95)
ABSENT = replace(UVICORN, id="absent", server="absent", unavailable="uv is not installed")
RATES = [replace(STEADY, level=Level(64, "open", rate_per_s=rate)) for rate in (1_000, 2_000)]
CONNECTIONS = [replace(KEEP_ALIVE, level=Level(number)) for number in (8, 64)]
FEW = replace(PLAN, rounds=1)


@pytest.mark.parametrize(
    ("draw", "load"),
    [(leading_charts, KEEP_ALIVE), (cpu_charts, KEEP_ALIVE)],
)
@pytest.mark.parametrize(("other", "hatched"), [(BAD, True), (ABSENT, False)], ids=["bad", "absent"])
def test_hatched_bars_are_explained_where_there_are_some(
    views: Views, draw: Draw, load: Load, other: Truth, hatched: bool
) -> None:
    chart = only(draw(views.of([UVICORN, other], load)))

    drawn = any(patch.get_hatch() for axes in chart.figure.axes for patch in axes.patches)
    assert ("hatched: limited" in said(chart)) == drawn == hatched
    assert ("Hatched: limited, and compared with nothing (" in said(chart)) == hatched


@pytest.mark.parametrize(
    ("draw", "load", "mark"), [(waiting_charts, WAIT, "Hollow"), (latency_charts, KEEP_ALIVE, "Grey")]
)
@pytest.mark.parametrize(("other", "marked"), [(BAD, True), (ABSENT, False)], ids=["bad", "absent"])
def test_hollow_and_grey_dots_are_explained_where_there_are_some(
    views: Views, draw: Draw, load: Load, mark: str, other: Truth, marked: bool
) -> None:
    chart = only(draw(views.of([UVICORN, other], load)))

    assert (f"{mark}: limited, and compared with nothing (" in said(chart)) == marked


@pytest.mark.parametrize(("draw", "loads"), [(rate_charts, RATES), (connection_charts, CONNECTIONS)])
@pytest.mark.parametrize("hatched", [True, False])
def test_the_hatched_strip_is_explained_where_there_is_one(
    views: Views, draw: Draw, loads: list[Load], hatched: bool
) -> None:
    chart = only(draw(views.of([UVICORN, BUSY if hatched else ABSENT], *loads, plan=PLAN)))

    drawn = any(patch.get_hatch() for axes in chart.figure.axes for patch in axes.patches)
    assert ("In the hatched strip: " in said(chart)) == drawn == hatched


@pytest.mark.parametrize(
    ("subjects", "rounds", "is_drawn"),
    [(MIN_COMPANY, 2, True), (MIN_COMPANY, 1, False), (MIN_COMPANY - 1, 12, False)],
    ids=["two rounds", "one round", "too few subjects"],
)
def test_the_line_of_common_drift_is_explained_where_there_is_one(
    views: Views, subjects: int, rounds: int, is_drawn: bool
) -> None:
    view = views.of(crowd(subjects), KEEP_ALIVE, plan=replace(PLAN, rounds=rounds))
    chart = only(steadiness_charts(view))

    assert bool(lines(chart.figure.axes[0], ink=INK)) == is_drawn
    assert ("The line is the median" in said(chart)) == is_drawn


@pytest.mark.parametrize(
    ("draw", "load"),
    [(latency_charts, KEEP_ALIVE), (response_charts, STEADY), (latency_charts, BROADCAST)],
    ids=["latency", "response", "broadcast"],
)
@pytest.mark.parametrize("plan", [PLAN, FEW, replace(PLAN, rounds=200)], ids=["usual", "few", "many"])
def test_a_dash_among_the_percentiles_is_explained_where_there_is_one(
    views: Views, draw: Draw, load: Load, plan: Plan
) -> None:
    chart = only(draw(views.of([UVICORN, ABSENT], load, plan=plan)))

    assert ("—: too few samples." in said(chart)) == ("—" in texts(chart))


def test_the_percentiles_of_a_short_run_have_dashes_and_those_of_a_long_one_have_none(views: Views) -> None:
    short, long = (
        only(latency_charts(views.of([UVICORN], KEEP_ALIVE, plan=replace(PLAN, rounds=rounds))))
        for rounds in (1, 12)
    )

    assert ("—" in texts(short), "—" in texts(long)) == (True, False)
