"""Two runs that differ in more than their servers: what is not compared, and what is refused as a whole."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis.compare.result import CellComparison
from analysis.compare.show import compare_command
from gatebench.words.errors import ConfigurationError
from tests.support.comparisons import (
    HYPERCORN,
    OTHER_SEED,
    UVICORN,
    WAITRESS,
    Edit,
    against,
    cell,
    compared,
    made,
    said,
    slower,
)
from tests.support.summaries import BY_ID, CLOSE, KEEP_ALIVE, QUIET
from tests.support.synthetic import IDLE, STEADY


def codes(found: CellComparison) -> list[str]:
    return [reason.partition(":")[0] for reason in found.reasons]


def test_one_block_gives_a_ratio_and_neither_interval_nor_verdict(tmp_path: Path) -> None:
    a = made(tmp_path, "a", plan=replace(QUIET, blocks=1))
    found = cell(compared(a, made(tmp_path, "b")), "uvicorn")
    assert found.ratio is not None
    assert found.ratio.low is None
    assert found.ratio.p is None
    assert found.verdict == "not comparable"
    assert codes(found) == ["too-few-blocks"]


def test_another_application_is_refused_and_no_ratio_is_given(tmp_path: Path) -> None:
    result = against(tmp_path, lambda content: content["hashes"].update({"apps/plain": "77" * 32}))
    assert {tuple(codes(each)) for each in result.cells} == {("application",)}
    assert all(each.ratio is None for each in result.cells)
    assert not result.pairs
    assert not result.says_something


def test_memory_that_was_counted_in_two_ways_is_not_compared(tmp_path: Path) -> None:
    idle = replace(UVICORN, rates={"websocket-idle": 20.0})
    result = against(tmp_path, lambda content: content.pop("memory"), subjects=[idle], loads=(IDLE,))
    assert [codes(each) for each in result.cells] == [["memory"]]


def test_another_workload_refuses_its_own_cells_and_no_others(tmp_path: Path) -> None:
    result = against(
        tmp_path,
        lambda content: content["hashes"].update({"workloads/close": "77" * 32}),
        loads=(KEEP_ALIVE, CLOSE),
    )
    assert codes(cell(result, "uvicorn", "close")) == ["workload"]
    assert cell(result, "uvicorn", "keep-alive").verdict == "no difference shown"
    assert {pair.plan.workload for pair in result.pairs} == {"keep-alive"}


def test_a_run_that_does_not_say_what_it_measured_is_refused(tmp_path: Path) -> None:
    result = against(tmp_path, lambda content: content["hashes"].pop("workloads/keep-alive"))
    assert codes(cell(result, "uvicorn")) == ["workload"]


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("cores", {"server": [2, 3], "engine": [1], "lab": [0]}, "cores"),
        ("workers", 2, "workers"),
        ("threads", 8, "threads"),
    ],
)
def test_other_cores_processes_or_threads_are_refused(
    tmp_path: Path, key: str, value: object, code: str
) -> None:
    result = against(tmp_path, lambda content: content.update({key: value}))
    assert {codes(each)[0] for each in result.cells} == {code}
    assert not result.says_something


def test_runs_of_the_same_instrument_are_compared_although_an_engine_alone_would_say_less(
    tmp_path: Path,
) -> None:
    def recorded(content: dict[str, Any]) -> None:
        content["hashes"]["instrument"] = "5e" * 32

    a = made(tmp_path, "a", edit=recorded)
    b = made(tmp_path, "b", (slower(UVICORN, 0.5), HYPERCORN, WAITRESS), OTHER_SEED, edit=recorded)
    assert cell(compared(a, b), "uvicorn").verdict == "regression"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda content: content["hashes"].update(engine="77" * 32), "instrument"),
        (lambda content: content["hashes"].update(instrument="77" * 32), "instrument"),
        (lambda content: content["cores"].update(engine=[1, 2]), "engine"),
        (lambda content: content["machine"].update(cpu="AMD EPYC"), "machine"),
    ],
)
def test_another_instrument_or_machine_gives_ratios_without_verdicts_and_the_order_is_compared(
    tmp_path: Path, change: Edit, code: str
) -> None:
    a = made(tmp_path, "a")
    b = made(tmp_path, "b", (slower(UVICORN, 0.5), HYPERCORN, WAITRESS), OTHER_SEED, edit=change)
    result = compared(a, b)
    found = cell(result, "uvicorn")
    assert codes(found) == [code]
    assert found.verdict == "not comparable"
    assert found.ratio is not None
    assert found.ratio.ratio == pytest.approx(0.5, rel=0.05)
    assert {pair.outcome for pair in result.pairs} == {"held"}
    status, text = said(a, b)
    assert (status, "No cell has a verdict" in text) == (2, True)


def test_a_cell_that_is_not_valid_in_one_run_is_not_comparable_and_says_in_which(tmp_path: Path) -> None:
    broken = replace(UVICORN, errors={"keep-alive": {"body": 1}})
    b = made(tmp_path, "b", (broken, HYPERCORN, WAITRESS))
    found = cell(compared(made(tmp_path, "a"), b), "uvicorn")
    assert found.verdict == "not comparable"
    assert found.ratio is None
    assert found.reasons == ("withheld: in B (wrong-body)",)


def test_what_neither_run_supports_is_no_cell(tmp_path: Path) -> None:
    both = (UVICORN, BY_ID["gunicorn-sync"])
    a = made(tmp_path, "a", both)
    result = compared(a, made(tmp_path, "b", both))
    assert [each.subject.id for each in result.cells] == ["uvicorn"]


def test_rates_that_differ_are_another_load(tmp_path: Path) -> None:
    truth = replace(UVICORN, rates={STEADY.name: 9_000.0}, p99_us={STEADY.name: 3_000.0})

    def faster(content: dict[str, Any]) -> None:
        content["plan"]["levels"][0]["rate_per_s"] = 2_200.0

    result = against(tmp_path, faster, subjects=[truth], loads=[STEADY])
    assert codes(cell(result, "uvicorn", STEADY.name)) == ["load"]


def test_runs_without_a_common_cell_are_bad_usage_and_both_sides_are_named(tmp_path: Path) -> None:
    a = made(tmp_path, "a", [UVICORN])
    b = made(tmp_path, "b", [WAITRESS], loads=[CLOSE])
    with pytest.raises(ConfigurationError) as caught:
        said(a, b)
    assert "have no cell in common" in str(caught.value)
    assert "levels of A: keep-alive/c64; of B: close/c64" in str(caught.value)
    assert "subjects of A: uvicorn; of B: waitress" in str(caught.value)


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    a = made(tmp_path, "a")
    with pytest.raises(ConfigurationError, match="both folders hold the run a"):
        said(a, a)


def test_where_nothing_can_be_compared_the_reasons_are_shown_and_it_is_no_success(tmp_path: Path) -> None:
    a = made(tmp_path, "a")
    b = made(tmp_path, "b", edit=lambda content: content.update(workers=2))
    output = io.StringIO()
    with pytest.raises(ConfigurationError, match="nothing of these two runs can be compared"):
        compare_command(a, b, Console(file=output, width=200))
    assert "not comparable, workers: worker processes of a server: 1 in A and 2 in B: all" in (
        output.getvalue()
    )


def test_a_missing_folder_or_a_damaged_file_is_not_taken_for_a_regression(tmp_path: Path) -> None:
    a, b = made(tmp_path, "a"), made(tmp_path, "b")
    with pytest.raises(ConfigurationError, match="neither a results folder nor a bundle"):
        said(a, tmp_path / "nowhere")
    part = next((b / "slices.parquet").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(ConfigurationError, match="damaged or not Parquet"):
        said(a, b)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    a, b = made(tmp_path, "a"), made(tmp_path, "b")
    with pytest.raises(ConfigurationError, match=r"nowhere/out\.json: cannot be written"):
        said(a, b, json_file=tmp_path / "nowhere" / "out.json")


def test_another_database_is_a_condition_that_differs(tmp_path: Path) -> None:
    def with_database(content: dict[str, Any]) -> None:
        facts = {"version": "17.6", "max_connections": 100, "cores": [0], "pool": 8}
        content["database"] = {**facts, "settings": {"fsync": "off"}}

    found = {each.what: (each.a, each.b) for each in against(tmp_path, with_database).changes}
    assert found["database"] == ("", "PostgreSQL 17.6")
    assert found["database, fsync"] == ("", "off")
