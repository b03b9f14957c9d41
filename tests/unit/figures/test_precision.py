"""How precise a run is, from its intervals; and what its report says of that and of why it ended."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.figures.precision import find, half_width, in_words, needed_blocks
from analysis.figures.results import LevelResult, Summary
from analysis.figures.statistics import Comparison
from analysis.figures.summary import summarize
from analysis.page.summary import write_summary
from analysis.reading.run import Run, load_run
from gatebench.words.precision import Found, Precision
from tests.support.comparisons import made
from tests.support.summaries import CLOSE, KEEP_ALIVE

LOADS = (KEEP_ALIVE, CLOSE)
LOOK = {"kind": "look", "block": 4, "blocks": 5, "asked": "3%", "reached": 0.02, "met": True, "text": "±2 %"}


def asking(share: float) -> Any:
    """Changes run.json into that of a run which asked for this precision."""
    return lambda content: content["plan"].update(precision={"share": share, "subjects": [], "workloads": []})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("precise"), "run", loads=LOADS, edit=asking(0.03))


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return load_run(folder)


@pytest.fixture(scope="module")
def summary(run: Run) -> Summary:
    return summarize(run)


def with_pairs(summary: Summary, *pairs: Comparison) -> Summary:
    """The result with these comparisons in its first level, and none in the others."""
    first, *others = summary.levels
    levels = [replace(first, comparisons=pairs), *(replace(each, comparisons=()) for each in others)]
    return replace(summary, levels=tuple(levels))


def pair(half: float | None, blocks: int = 5, left: str = "a", right: str = "b") -> Comparison:
    low, high = (None, None) if half is None else (2 / (1 + half), 2 * (1 + half))
    return Comparison(left, right, blocks, 2.0, low, high, 0.01, "higher", "too few" if half is None else "")


def test_half_the_width_is_a_share_of_the_ratio_whichever_way_it_is_read() -> None:
    either = pair(0.03)
    assert either.low is not None
    assert either.high is not None
    assert half_width(either) == pytest.approx(0.03)
    turned = replace(either, ratio=0.5, low=1 / either.high, high=1 / either.low)
    assert half_width(turned) == pytest.approx(0.03)
    assert half_width(pair(None)) is None


def test_the_widest_of_all_ratios_decides(run: Run, summary: Summary) -> None:
    found = find(summary, Precision(0.5))
    every = [half_width(each) or 0 for level in summary.levels for each in level.comparisons]
    assert len(every) == 6
    assert found.reached == pytest.approx(max(every))
    assert (found.met, found.pairs, found.blocks, found.without) == (True, 6, 5, ())
    assert not find(summary, Precision(max(every) / 1.001)).met


def test_what_was_named_alone_has_to_be_so_precise(summary: Summary) -> None:
    assert find(summary, Precision(0.5, (), ("close",))).pairs == 3
    found = find(summary, Precision(0.5, ("uvicorn", "waitress"), ("close",)))
    assert (found.pairs, found.widest) == (1, "close/c64: uvicorn / waitress")


def test_a_ratio_without_an_interval_is_not_precise(summary: Summary) -> None:
    found = find(with_pairs(summary, pair(0.01), pair(None, 2, "a", "c")), Precision(0.03))
    assert (found.met, found.reached, found.needed_blocks) == (False, None, None)
    assert "no interval yet of keep-alive/c64: a / c" in found.text


def test_a_ratio_of_fewer_blocks_than_a_run_has_at_its_first_look_is_not_taken_for_precise(
    summary: Summary,
) -> None:
    assert not find(with_pairs(summary, pair(0.01), pair(0.01, 4, "a", "c")), Precision(0.03)).met
    assert find(with_pairs(summary, pair(0.01), pair(0.01, 5, "a", "c")), Precision(0.03)).met


def test_a_level_without_a_valid_pair_is_named_and_holds_nothing_up(summary: Summary) -> None:
    found = find(with_pairs(summary, pair(0.01)), Precision(0.03))
    assert (found.met, found.without) == (True, ("close/c64",))


def test_a_run_without_any_pair_never_reaches_a_precision(summary: Summary) -> None:
    found = find(with_pairs(summary), Precision(0.5))
    assert (found.met, found.pairs, found.reached) == (False, 0, None)
    assert found.text == "there is no valid pair to compare, so no precision can be reached"


@pytest.mark.parametrize("subjects", [2, 6])
def test_what_it_takes_is_forecast_from_the_spread_so_far(summary: Summary, subjects: int) -> None:
    names = [f"s{number}" for number in range(subjects)]
    pairs = [pair(0.06, 10, names[0], name) for name in names[1:]]
    level: LevelResult = replace(summary.levels[0], comparisons=tuple(pairs))
    blocks = needed_blocks(pairs[0], level, 0.03)
    assert blocks is not None
    plain = 10 * (np.log(1.06) / np.log(1.03)) ** 2  # without the degrees of freedom that more blocks bring
    assert 0.7 * plain < blocks < plain
    assert needed_blocks(pairs[0], level, 0.07) == 10
    assert needed_blocks(pair(30.0, 10), level, 0.005) is None


def test_a_run_that_may_end_for_its_intervals_has_wider_ones(folder: Path, tmp_path: Path) -> None:
    usual = summarize(load_run(made(tmp_path, "run", loads=LOADS)))
    looking = summarize(load_run(folder))
    for one, other in zip(usual.levels, looking.levels, strict=True):
        for narrow, wide in zip(one.comparisons, other.comparisons, strict=True):
            assert narrow.ratio == wide.ratio
            assert 1.05 < (half_width(wide) or 0) / (half_width(narrow) or 1) < 1.4
            assert narrow.p is not None
            assert wide.p == pytest.approx(min(1.0, 2 * narrow.p))


def test_the_summary_says_what_was_found_and_only_where_it_was_asked_for(
    folder: Path, tmp_path: Path
) -> None:
    found = write_summary(folder).found
    assert found is not None
    written = json.loads((folder / "summary.json").read_text())
    assert Found.from_json(written["precision"]) == found
    other = made(tmp_path, "run")
    assert write_summary(other).found is None
    assert "precision" not in json.loads((other / "summary.json").read_text())


def test_a_run_that_went_on_to_a_finer_precision_is_held_to_that(run: Run) -> None:
    resumed = {"kind": "resumed", "at": "", "block": 5, "notices": [], "precision": {"share": 0.01}}
    later = replace(run, events=(*run.events, resumed))
    assert run.precision == Precision(0.03)
    assert later.precision == Precision(0.01)


@pytest.mark.parametrize(
    ("ending", "met", "said"),
    [
        (None, False, "3% was asked for; so far ±2 %; looked after 5 blocks."),
        (
            {"outcome": "complete", "ended_for": "precision"},
            True,
            "and reached: ±2 %; the run ended for it, after 5 of at most 52 blocks",
        ),
        ({"outcome": "complete", "ended_for": "budget"}, True, "and reached: ±2 %; the budget was used up"),
        (
            {"outcome": "complete", "ended_for": "budget"},
            False,
            "not reached when the budget was used up: ±2 %; looked after 5 blocks. By the spread seen it",
        ),
        ({"outcome": "interrupted"}, False, "and not reached when the run was ended early"),
    ],
)
def test_a_report_says_what_was_reached_and_why_the_run_ended(
    ending: dict[str, Any] | None, *, met: bool, said: str
) -> None:
    found = Found("3%", 5, 0.02, met=met, pairs=1, widest="w", needed_blocks=9, without=(), text="±2 %")
    assert said in in_words(found, ending, [LOOK], 52)


def test_levels_without_a_ratio_are_named(summary: Summary) -> None:
    found = find(with_pairs(summary, pair(0.01)), Precision(0.03))
    assert in_words(found, None, [], 10).endswith("Without a ratio: close/c64.")


def test_progress_is_so_far_until_the_run_has_ended(run: Run) -> None:
    going_on = replace(run, events=run.events[:-1])
    assert going_on.progress(2) == "so far: 2 of at most 5 blocks"
    assert run.progress(5) == "5 of 5 blocks"
