"""The chart of what an application adds to the plain one behind the same server."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from analysis.charts.applications import application_charts
from analysis.charts.registry import charts
from analysis.charts.view import counted_slices
from analysis.figures.applications import added, by_application
from tests.support.charts import KEEP_ALIVE, UVICORN, Views, only, texts, texts_off_the_page

if TYPE_CHECKING:
    from analysis.charts.view import View
    from analysis.figures.applications import Added

SLOW = replace(UVICORN, id="uvicorn+slow", app="slow", rates={"keep-alive": UVICORN.rates["keep-alive"] / 4})
LIGHT = replace(
    UVICORN, id="uvicorn+light", app="light", rates={"keep-alive": UVICORN.rates["keep-alive"] / 2}
)
WSGI = replace(UVICORN, id="waitress", server="waitress", interface="wsgi", rates={"keep-alive": 5_000.0})
WSGI_SLOW = replace(WSGI, id="waitress+slow", app="slow", rates={"keep-alive": 2_000.0})


def rows(view: View) -> dict[str, Added]:
    """Subject → what its application adds."""
    found = added(view.meta, view.level, counted_slices(view.run, view.level.plan))
    return {row.cell.subject: row for row in found}


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> View:
    folder = tmp_path_factory.mktemp("runs")
    return Views(folder).of([UVICORN, SLOW, LIGHT, WSGI, WSGI_SLOW], KEEP_ALIVE)


def test_an_application_is_held_against_the_plain_one_behind_the_same_server(view: View) -> None:
    plain_us = 0.99e6 / UVICORN.rates["keep-alive"]
    found = rows(view)
    assert set(found) == {"uvicorn+slow", "uvicorn+light", "waitress+slow"}
    slow, wsgi = found["uvicorn+slow"], found["waitress+slow"]
    assert (slow.plain.subject, wsgi.plain.subject) == ("uvicorn", "waitress")
    assert slow.cpu_us is not None
    assert slow.cpu_us.low is not None
    assert slow.cpu_us.high is not None
    assert slow.cpu_us.low < 3 * plain_us < slow.cpu_us.high
    assert slow.share == pytest.approx(0.75, abs=0.02)
    assert wsgi.cpu_us is not None
    assert wsgi.cpu_us.estimate == pytest.approx(0.99e6 / 2_000 - 0.99e6 / 5_000, rel=0.1)


def test_the_cheapest_application_comes_first_with_all_its_servers_together(view: View) -> None:
    order = [row.cell.subject for row in by_application([*rows(view).values()])]
    assert order[0] == "uvicorn+light"
    assert {row.cell.app for row in by_application([*rows(view).values()])[1:]} == {"slow"}


def test_the_chart_says_the_cost_its_share_and_what_is_left_of_the_rate(view: View) -> None:
    chart = only(application_charts(view))
    said = " ".join(texts(chart))
    assert "What the application adds" in said
    assert "75 %" in said
    assert "0.25 times" in said
    assert "the plain application's behind the same server" in said
    assert not texts_off_the_page(chart)


def test_a_run_of_one_application_has_no_such_chart(tmp_path_factory: pytest.TempPathFactory) -> None:
    view = Views(tmp_path_factory.mktemp("plain")).of([UVICORN, WSGI], KEEP_ALIVE)
    assert not [chart for chart in charts("level", view) if chart.stem.startswith("application-")]


def test_without_the_plain_one_behind_the_same_server_there_is_nothing_to_hold_it_against(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    view = Views(tmp_path_factory.mktemp("alone")).of([UVICORN, WSGI_SLOW], KEEP_ALIVE)
    assert rows(view) == {}


def test_a_cost_that_was_not_measured_is_said_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    blind = replace(SLOW, measures_cpu=False)
    view = Views(tmp_path_factory.mktemp("blind")).of([UVICORN, blind, LIGHT], KEEP_ALIVE)
    assert rows(view)["uvicorn+slow"].cpu_us is None
    assert "not measured" in texts(only(application_charts(view)))
