"""Two runs side by side, whose truth is known: what is found of cells and order, what a script is told."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from rich.console import Console
from scipy import stats

from analysis.compare.compare import (
    Difference,
    Side,
    cell_verdict,
    compare_runs,
    difference,
    outcome,
    ratios,
)
from analysis.compare.result import Ratio
from analysis.compare.show import as_json, older_in_words, order_tables, ratio_charts
from analysis.figures.cells import LevelData, level_data
from analysis.figures.leads import lead_table
from analysis.figures.model import means
from analysis.figures.statistics import (
    LOOKING_SIGNIFICANCE,
    SIGNIFICANCE,
    Comparison,
    Verdict,
    block_numbers,
)
from analysis.figures.summary import summarize
from analysis.reading.run import load_run
from tests.support.comparisons import (
    HYPERCORN,
    OTHER_SEED,
    THREE,
    UVICORN,
    WAITRESS,
    against,
    cell,
    compared,
    made,
    said,
    slower,
)
from tests.support.synthetic import STEADY


def test_the_same_servers_measured_again_show_no_difference_and_keep_their_order(tmp_path: Path) -> None:
    result = against(tmp_path, lambda _: None)
    assert {each.verdict for each in result.cells} == {"no difference shown"}
    assert {pair.outcome for pair in result.pairs} == {"held"}
    assert len(result.pairs) == 3


def test_a_server_that_became_slower_is_a_regression_and_the_others_are_none(tmp_path: Path) -> None:
    a = made(tmp_path, "a")
    b = made(tmp_path, "b", (slower(UVICORN, 0.85), HYPERCORN, WAITRESS), OTHER_SEED)
    result = compared(a, b)
    found = cell(result, "uvicorn")
    assert found.verdict == "regression"
    assert found.ratio is not None
    assert found.ratio.low is not None
    assert found.ratio.high is not None
    assert found.ratio.low < 0.85 < found.ratio.high
    assert [each.subject.id for each in result.with_verdict("regression")] == ["uvicorn"]
    assert said(a, b)[0] == 1
    assert cell(compared(b, a), "uvicorn").verdict == "improvement"
    assert said(b, a)[0] == 0


def test_a_longer_response_time_is_a_regression_although_the_figure_is_higher(tmp_path: Path) -> None:
    fast = replace(UVICORN, rates={STEADY.name: 9_000.0}, p99_us={STEADY.name: 3_000.0})
    slow = replace(fast, p99_us={STEADY.name: 6_000.0})
    a = made(tmp_path, "a", [fast], loads=[STEADY])
    found = cell(compared(a, made(tmp_path, "b", [slow], loads=[STEADY])), "uvicorn", STEADY.name)
    assert found.metric.better == "lower"
    assert found.ratio is not None
    assert found.ratio.ratio > 1.5
    assert found.verdict == "regression"


@pytest.mark.parametrize(
    ("ratio", "noise", "expected"),
    [
        (Ratio(0.90, 0.88, 0.92, 0.001), 1.03, "regression"),
        (Ratio(1.10, 1.08, 1.12, 0.001), 1.03, "improvement"),
        (Ratio(0.98, 0.97, 0.99, 0.001), 1.03, "no difference shown"),
        (Ratio(0.90, 0.88, 0.92, 0.001), 1.15, "no difference shown"),
        (Ratio(0.90, 0.79, 1.02, 0.001), 1.03, "no difference shown"),
        (Ratio(0.90, None, None, None), 1.03, "no difference shown"),
    ],
)
def test_a_verdict_needs_the_interval_and_an_effect_beyond_the_noise(
    ratio: Ratio, noise: float, expected: str
) -> None:
    assert cell_verdict(ratio, "higher", noise) == expected
    opposite = {"regression": "improvement", "improvement": "regression"}
    assert cell_verdict(ratio, "lower", noise) == opposite.get(expected, expected)


def test_the_intervals_hold_for_all_cells_that_have_one_and_p_goes_with_them(tmp_path: Path) -> None:
    a, b = made(tmp_path, "a"), made(tmp_path, "b", (slower(UVICORN, 0.85), HYPERCORN, WAITRESS), OTHER_SEED)
    tables = [lead_table(_only_level(folder)) for folder in (a, b)]
    row = list(tables[0].columns).index("uvicorn")
    of_a, of_b = (means(block_numbers(table, with_common=True)) for table in tables)
    found = difference(of_a, of_b, row, row)
    (alone,), among = ratios([found]), cell(compared(a, b), "uvicorn").ratio
    assert among is not None
    assert among.ratio == pytest.approx(alone.ratio)
    of_three = ratios([found, found, found])[0]
    assert (among.low, among.high) == pytest.approx((of_three.low, of_three.high))
    assert alone.p is not None
    assert among.p == pytest.approx(1 - (1 - alone.p) ** 3)
    assert (among.low or 0) < (alone.low or 0)
    assert (alone.high or 0) < (among.high or 0)


def _only_level(folder: Path) -> LevelData:
    run = load_run(folder)
    return level_data(run, run.meta.levels[0])


def test_a_run_of_an_earlier_version_is_read_with_todays_statistics_and_says_so(tmp_path: Path) -> None:
    a, b = made(tmp_path, "a"), made(tmp_path, "b", plan=OTHER_SEED)
    assert "earlier version" not in said(a, b)[1]
    run = load_run(a)
    older = replace(run, meta=run.meta.replaced(schema_=1))
    result = compare_runs(Side(older, summarize(older)), _side(b))
    assert result.older == ("A",)
    assert "A: measured by an earlier version and read with this one's statistics" in older_in_words(result)
    assert as_json(result)["older"] == ["A"]


def _side(folder: Path) -> Side:
    run = load_run(folder)
    return Side(run, summarize(run))


def test_a_run_whose_twins_differ_widens_the_noise_and_the_twin_is_no_cell(tmp_path: Path) -> None:
    twin = replace(slower(WAITRESS, 0.75), id="waitress~again")

    def tell(content: dict[str, Any]) -> None:
        content["subjects"][-1]["twin_of"] = "waitress"

    a = made(tmp_path, "a", (*THREE, twin), edit=tell)
    b = made(tmp_path, "b", (slower(UVICORN, 0.85), HYPERCORN, WAITRESS, twin), OTHER_SEED, edit=tell)
    result = compared(a, b)
    assert [each.subject.id for each in result.cells] == ["uvicorn", "hypercorn", "waitress"]
    assert cell(result, "uvicorn").noise == pytest.approx(4 / 3, rel=0.05)
    assert cell(result, "uvicorn").verdict == "no difference shown"
    assert all("~" not in pair.a.left + pair.a.right for pair in result.pairs)


def apart(mean: float, error: float, freedom: float = 8.0, *, enough: bool = True) -> Difference:
    return Difference(mean, error, freedom, enough)


def test_of_one_cell_the_interval_is_students() -> None:
    (found,) = ratios([apart(0.1, 0.02)])
    known = stats.t(8, 0.1, 0.02).interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(np.exp(known)))
    assert found.p == pytest.approx(2 * stats.t.sf(5, 8))


def test_runs_that_may_have_ended_for_narrow_intervals_have_wider_ones(tmp_path: Path) -> None:
    def ask(content: dict[str, Any]) -> None:
        content["plan"]["precision"] = {"share": 0.03, "subjects": [], "workloads": []}

    a, b = made(tmp_path, "a"), made(tmp_path, "b", plan=OTHER_SEED)
    looking = made(tmp_path, "c", plan=OTHER_SEED, edit=ask)
    fixed, looked = (cell(compared(a, each), "uvicorn").ratio for each in (b, looking))
    assert fixed is not None
    assert looked is not None
    assert looked.ratio == fixed.ratio
    assert (looked.low or 0) < (fixed.low or 0)
    assert (fixed.high or 0) < (looked.high or 0)
    assert (looked.p or 0) == pytest.approx(min(1.0, 2 * (fixed.p or 0)))


@pytest.mark.parametrize("significance", [SIGNIFICANCE, LOOKING_SIGNIFICANCE])
@pytest.mark.parametrize("cells", [1, 2, 7, 100])
def test_p_is_under_5_in_100_where_the_interval_excludes_1(cells: int, significance: float) -> None:
    for mean in (0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1):
        found = ratios([apart(mean, 0.02)] * cells, significance)[0]
        assert found.low is not None
        assert found.p is not None
        assert (found.low > 1) == (found.p < 0.05)


def test_a_cell_with_too_few_blocks_has_no_interval_and_widens_no_other() -> None:
    few, enough = ratios([apart(0.1, 0.02, enough=False), apart(0.1, 0.02)])
    assert (few.low, few.high, few.p) == (None, None, None)
    assert few.ratio == pytest.approx(np.exp(0.1))
    assert enough == ratios([apart(0.1, 0.02)])[0]


def test_blocks_without_any_spread_give_an_interval_without_width() -> None:
    a, b = (means(np.full((1, 3), level)) for level in (9.0, 9.1))
    changed, same = ratios([difference(a, b, 0, 0), difference(a, a, 0, 0)])
    assert changed.low == changed.high == pytest.approx(np.exp(0.1))
    assert (changed.p, same.p) == (0, 1)


def test_an_order_that_turned_round_is_flipped_and_named(tmp_path: Path) -> None:
    a = made(tmp_path, "a")
    b = made(tmp_path, "b", (slower(UVICORN, 0.3), HYPERCORN, WAITRESS), OTHER_SEED)
    result = compared(a, b)
    assert [(pair.a.left, pair.a.right) for pair in result.with_outcome("flipped")] == [
        ("uvicorn", "waitress")
    ]
    assert "keep-alive/c64: uvicorn over waitress: 2." in said(a, b)[1]


def test_each_two_subjects_are_told_once_beside_the_one_that_is_better_in_a(tmp_path: Path) -> None:
    alike = replace(HYPERCORN, id="alike", server="alike")
    everyone = (UVICORN, HYPERCORN, alike, WAITRESS)
    a = made(tmp_path, "a", everyone)
    b = made(tmp_path, "b", (slower(UVICORN, 0.3), *everyone[1:]), OTHER_SEED)
    output = io.StringIO()
    Console(file=output, width=200).print(order_tables(compared(a, b)))

    lines = [re.split(r"\s{2,}", line.strip()) for line in output.getvalue().splitlines() if line.strip()]
    assert lines[0] == ["keep-alive, 64 connections: each two subjects"]
    head, *rows = lines[1:]
    assert head[0] == "subject"
    assert [heading.partition(":")[0].split()[0] for heading in head[1:]] == ["held", "flipped", "cannot"]
    told = {row[0]: row[1:] for row in rows}
    assert told["uvicorn"][1] == "waitress"
    others = [name for row in rows for column in row[1:] for name in column.split(", ") if name != "–"]
    assert len(others) == 6  # pairs of four


def comparison(verdict: Verdict) -> Comparison:
    return Comparison("a", "b", 5, 1.2, 1.1, 1.3, 0.01, verdict)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("higher", "higher", "held"),
        ("lower", "lower", "held"),
        ("higher", "lower", "flipped"),
        ("lower", "higher", "flipped"),
        ("tie", "tie", "cannot be told"),
        ("higher", "tie", "cannot be told"),
        ("not enough data", "lower", "cannot be told"),
    ],
)
def test_only_two_differences_can_hold_or_flip(a: Verdict, b: Verdict, expected: str) -> None:
    assert outcome(comparison(a), comparison(b)) == expected


def test_every_change_of_the_conditions_is_told_with_both_values(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["machine"]["python"] = "3.14.0"
        content["machine"]["load_average_1m"] = 17.0
        content["profile"] = "full"
        content["exclusive"] = True
        content["subjects"][0]["version"] = "2.0.0"
        content["subjects"][0]["packages"] = {"uvicorn": "2.0.0", "h11": "0.17"}
        content["subjects"][2]["command"] += ["--threads", "9"]

    found = {each.what: (each.a, each.b) for each in against(tmp_path, change).changes}
    assert found["machine, python"] == ("3.11.7", "3.14.0")
    assert found["profile"] == ("standard", "full")
    assert found["seed"] == ("7", "8")
    assert found["servers up"] == ("all at once", "one at a time")
    assert found["version of uvicorn"] == ("1.2.3", "2.0.0")
    assert found["packages of uvicorn"] == ("", "h11 0.17")
    assert found["command of waitress"][1].endswith("--threads 9")
    assert len(found) == 7


def test_a_level_that_moved_as_a_whole_is_said_to_be_the_machines_doing(tmp_path: Path) -> None:
    a = made(tmp_path, "a")
    status, output = said(a, made(tmp_path, "b", [slower(each, 0.8) for each in THREE], OTHER_SEED))
    assert status == 1
    assert "keep-alive/c64: all 3 cells moved the same way, to 0.79" in output
    assert "The machine's drift from one run to the other is in the ratios and not in the intervals" in output


def test_a_common_change_is_not_claimed_where_one_subject_moved_the_other_way(tmp_path: Path) -> None:
    a = made(tmp_path, "a")
    mixed = (slower(UVICORN, 0.8), slower(HYPERCORN, 0.8), slower(WAITRESS, 1.2))
    assert "moved the same way" not in said(a, made(tmp_path, "b", mixed, OTHER_SEED))[1]


def test_the_json_has_every_cell_and_null_for_what_there_is_not(tmp_path: Path) -> None:
    a = made(tmp_path, "a")
    broken = replace(UVICORN, errors={"keep-alive": {"body": 1}})
    b = made(tmp_path, "b", (broken, slower(HYPERCORN, 0.7), WAITRESS), OTHER_SEED)
    file = tmp_path / "out.json"
    assert said(a, b, json_file=file)[0] == 1
    content = json.loads(file.read_text())
    assert content["schema"] == 1
    assert (content["a"], content["b"]) == ("a", "b")
    by_subject = {each["subject"]: each for each in content["cells"]}
    assert by_subject["uvicorn"]["ratio"] is None
    assert by_subject["uvicorn"]["reasons"] == ["withheld: in B (wrong-body)"]
    assert by_subject["hypercorn"]["verdict"] == "regression"
    assert by_subject["hypercorn"]["low"] < 0.7 < by_subject["hypercorn"]["high"]
    assert content["pairs"][0]["outcome"] == "held"
    assert content == json.loads(json.dumps(as_json(compared(a, b))))


def test_what_a_server_said_is_printed_as_it_is_and_not_as_markup(tmp_path: Path) -> None:
    def dress(content: dict[str, Any]) -> None:
        content["subjects"][0]["version"] = "[red]9.9[/red]"

    a = made(tmp_path, "a")
    assert "[red]9.9[/red]" in said(a, made(tmp_path, "b", plan=OTHER_SEED, edit=dress))[1]


def test_the_chart_shows_each_ratio_with_its_verdict_and_why_there_is_none(tmp_path: Path) -> None:
    a = made(tmp_path, "a")
    (chart,) = ratio_charts(compared(a, made(tmp_path, "b", [slower(UVICORN, 0.8), HYPERCORN], OTHER_SEED)))
    texts = [text.get_text() for text in chart.figure.findobj(Text) if isinstance(text, Text)]
    assert {"uvicorn", "hypercorn", "regression", "no difference shown"} <= set(texts)
    assert "waitress" not in texts
    assert "uvicorn 0." in chart.alt
    other = made(tmp_path, "c", edit=lambda content: content["machine"].update(cpu="AMD EPYC"))
    (chart,) = ratio_charts(compared(a, other))
    texts = [text.get_text() for text in chart.figure.findobj(Text) if isinstance(text, Text)]
    assert any("Without a verdict (grey): machine: the runs are of two machines" in text for text in texts)


def test_the_charts_are_written_where_they_were_asked_for(tmp_path: Path) -> None:
    a, b = made(tmp_path, "a"), made(tmp_path, "b", plan=OTHER_SEED)
    said(a, b, charts=tmp_path / "charts")
    assert (tmp_path / "charts" / "compare-keep-alive-c64.svg").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "charts" / "compare-keep-alive-c64.png").read_bytes().startswith(b"\x89PNG")
