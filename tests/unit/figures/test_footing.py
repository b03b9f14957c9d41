"""On which loops subjects ran: what is said of it, who is ranked on one loop, and who beside itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.charts.footing import has_two_loops, loop_charts, same_loop_charts, shares_a_loop
from analysis.charts.registry import charts
from analysis.charts.view import View
from analysis.figures.footing import footing_in_words, loop_pairs, loops_in_words, on_one_loop
from analysis.figures.results import standings
from analysis.words import findings
from tests.support.charts import KEEP_ALIVE, level_view, only, said, texts, texts_off_the_page
from tests.support.synthetic_model import Truth


def truth(subject: str, rate: float, loop: str, *libraries: str) -> Truth:
    """A subject that was seen to run on a loop; without one, nobody looked."""
    server, _, variant = subject.partition("-")
    seen = {
        "loop": loop,
        "loop_class": f"{loop}.Loop",
        "libraries": [*libraries],
        "processes": 1,
        "threads": 5,
    }
    return Truth(
        subject, server, variant or "default", "asgi", {"keep-alive": rate}, observed=seen if loop else {}
    )


GRANIAN = [
    truth("granian-asgi", 9_000, "asyncio"),
    truth("granian-asgi-uvloop", 12_000, "uvloop"),
    truth("granian-asgi-rloop", 15_000, "rloop"),
]
UVICORN = [
    truth("uvicorn", 9_000, "uvloop", "httptools", "websockets"),
    truth("uvicorn-asyncio", 6_000, "asyncio", "httptools", "websockets"),
    truth("uvicorn-h11", 3_000, "asyncio", "h11", "websockets"),
]
WAITRESS = Truth("waitress", "waitress", "default", "wsgi", {"keep-alive": 5_000})
UNSEEN = truth("daphne", 2_000, "")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> View:
    """Two servers on two loops or more, one of another parser, one that nobody looked at, and one of WSGI."""
    subjects = [*GRANIAN, *UVICORN, WAITRESS, UNSEEN]
    return level_view(tmp_path_factory.mktemp("mixed"), subjects, KEEP_ALIVE)


def view_of(folder: Path, subjects: Sequence[Truth]) -> View:
    return level_view(folder, subjects, KEEP_ALIVE)


def test_a_sentence_names_the_loops_of_subjects_that_differ_in_them_and_of_no_others(mixed: View) -> None:
    cells = {cell.subject: cell for cell in mixed.level.cells}
    both = [cells["uvicorn"], cells["granian-asgi"]]
    assert loops_in_words(both) == "uvicorn on uvloop, granian-asgi on asyncio"
    assert loops_in_words([*both, cells["granian-asgi-uvloop"]]) == (
        "uvicorn and granian-asgi-uvloop on uvloop, granian-asgi on asyncio"
    )
    assert loops_in_words([cells["uvicorn"], cells["granian-asgi-uvloop"]]) == ""
    assert loops_in_words([cells["uvicorn"], cells["waitress"], cells["daphne"]]) == ""


def test_a_finding_that_compares_subjects_on_two_loops_says_so(tmp_path: Path, mixed: View) -> None:
    (first, *_) = findings(mixed.level, mixed.workload)
    assert first.endswith("(granian-asgi-rloop on rloop, granian-asgi-uvloop on uvloop).")
    tied = view_of(tmp_path, [UVICORN[0], GRANIAN[0]])
    (sentence,) = findings(tied.level, tied.workload)
    assert "cannot be told apart from it (" in sentence
    assert {"uvicorn on uvloop", "granian-asgi on asyncio"} <= set(
        sentence.rpartition("(")[2].rstrip(").").split(", ")
    )


def test_the_caption_says_what_each_asgi_subject_ran_on_and_of_which_that_is_not_known(mixed: View) -> None:
    caption = footing_in_words(mixed.meta, mixed.level)
    assert caption.startswith("ASGI as observed: ")
    for part in (
        "uvloop, httptools: uvicorn",
        "asyncio, h11: uvicorn-h11",
        "asyncio, own parser: granian-asgi",
        "not observed: daphne",
    ):
        assert part in caption
    assert "waitress" not in caption


def test_a_run_that_recorded_nothing_says_that_it_was_not_observed(tmp_path: Path) -> None:
    view = view_of(tmp_path, [UNSEEN, replace(UNSEEN, id="uvicorn", server="uvicorn")])
    assert footing_in_words(view.meta, view.level) == "Event loops: not observed in this run."
    assert all(subject.observed is None for subject in view.meta.subjects)
    assert not shares_a_loop(view)
    assert not has_two_loops(view)


def test_a_run_of_wsgi_alone_says_nothing_of_loops(tmp_path: Path) -> None:
    view = view_of(tmp_path, [WAITRESS])
    assert footing_in_words(view.meta, view.level) == ""


def test_the_subjects_on_one_loop_are_ranked_among_themselves(mixed: View) -> None:
    rows = standings(on_one_loop(mixed.level))
    assert [(row.cell.subject, row.places) for row in rows] == [
        ("granian-asgi-uvloop", "1"),
        ("uvicorn", "2"),
    ]


def test_a_server_is_held_against_itself_on_asyncio_where_nothing_else_was_seen_to_differ(
    mixed: View,
) -> None:
    pairs = loop_pairs(mixed.meta, mixed.level)
    assert [(pair.cell.subject, pair.usual.subject) for pair in pairs] == [
        ("granian-asgi-uvloop", "granian-asgi"),
        ("granian-asgi-rloop", "granian-asgi"),
        ("uvicorn", "uvicorn-asyncio"),  # and not uvicorn-h11, which has another parser
    ]


def test_the_ratio_of_two_loops_holds_the_truth_in_its_interval(mixed: View) -> None:
    of = {pair.cell.subject: pair.rates for pair in loop_pairs(mixed.meta, mixed.level)}
    rates = of["uvicorn"]
    assert rates is not None
    assert rates.low is not None
    assert rates.high is not None
    low, high = (rates.low, rates.high) if rates.left == "uvicorn" else (1 / rates.high, 1 / rates.low)
    assert low < 1.5 < high


def test_the_chart_of_one_loop_shows_its_subjects_alone_and_says_which_loop(mixed: View) -> None:
    chart = only(same_loop_charts(mixed))
    assert chart.stem == "same-loop-throughput-keep-alive-c64"
    assert "on uvloop alone" in chart.title
    assert {"uvicorn", "granian-asgi-uvloop"} <= set(texts(chart))
    assert not {"granian-asgi", "waitress", "daphne"} & set(texts(chart))
    assert texts_off_the_page(chart) == []


def test_the_chart_of_loops_gives_each_ratio_with_its_interval_and_what_it_is_over(mixed: View) -> None:
    chart = only(loop_charts(mixed))
    assert {"uvicorn", "granian-asgi-uvloop", "granian-asgi-rloop"} <= set(texts(chart))
    assert {"uvloop, over uvicorn-asyncio", "rloop, over granian-asgi"} <= set(texts(chart))
    assert chart.alt.count(" times (") == 3
    assert "uvicorn-h11" not in texts(chart)
    assert texts_off_the_page(chart) == []


def test_a_pair_of_which_one_has_no_figure_has_its_reason_in_the_chart(tmp_path: Path) -> None:
    broken = replace(UVICORN[1], errors={"keep-alive": {"status": 40}})
    chart = only(loop_charts(view_of(tmp_path, [UVICORN[0], broken])))
    assert "uvicorn-asyncio withheld: some of its requests failed (errors)" in said(chart)
    assert "no pair is valid" in chart.alt


def test_both_charts_are_made_where_a_run_has_what_they_show_and_not_elsewhere(
    tmp_path: Path, mixed: View
) -> None:
    assert {"same-loop-throughput-keep-alive-c64", "loops-keep-alive-c64"} <= {
        chart.stem for chart in charts("level", mixed)
    }
    on_uvloop = view_of(tmp_path, [UVICORN[0], GRANIAN[1]])  # the ranking itself shows it
    assert {chart.stem for chart in charts("level", on_uvloop)}.isdisjoint(
        {"same-loop-throughput-keep-alive-c64", "loops-keep-alive-c64"}
    )
