"""What is said of a result: places, sentences and the table on a terminal."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis.figures.results import Summary, ordered, standings
from analysis.figures.statistics import PAIRED
from analysis.figures.summary import summarize
from analysis.page.page import render
from analysis.page.terminal import standings_table
from analysis.reading.run import Run, load_run
from analysis.surroundings import conditions, machine_facts
from analysis.words import findings, in_closing, without_figures
from tests.support.summaries import BY_ID, QUIET, places, small, whole_run
from tests.support.synthetic import IDLE, LOADS, SEARCH, STEADY, make_run
from tests.support.synthetic_model import Load, Plan, Truth


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return whole_run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def summary(run: Run) -> Summary:
    return summarize(run)


def test_places_leave_open_what_the_comparisons_leave_open(summary: Summary) -> None:
    found = places(standings(summary.levels[0]))

    assert found["granian-asgi"] == "1"
    assert found["uvicorn"] == found["gunicorn-uvicorn"] == "3 to 4"
    assert found["uwsgi-http11"] == found["gunicorn-sync"] == ""


def test_only_the_leader_and_its_ties_lead(tmp_path: Path) -> None:
    twins = small(tmp_path, BY_ID["uvicorn"], BY_ID["gunicorn-uvicorn"], BY_ID["hypercorn"])

    leads = {row.cell.subject for row in standings(twins.levels[0]) if row.leads}

    assert leads == {"uvicorn", "gunicorn-uvicorn"}


def test_a_tied_leader_is_never_called_the_fastest(tmp_path: Path, run: Run) -> None:
    twins = small(tmp_path, BY_ID["uvicorn"], BY_ID["gunicorn-uvicorn"], BY_ID["hypercorn"])

    sentences = findings(twins.levels[0], run.meta.workload("keep-alive"))

    assert "cannot be told apart from it" in sentences[0]
    assert "has the highest figure" not in " ".join(sentences)


def test_a_level_whose_model_could_not_be_fitted_says_that_its_intervals_are_paired(
    run: Run, summary: Summary
) -> None:
    level, workload = summary.levels[0], run.meta.workload("keep-alive")
    paired = replace(
        level, comparisons=(replace(level.comparisons[0], because=PAIRED), *level.comparisons[1:])
    )

    assert "plain paired" not in " ".join(findings(level, workload))
    assert "each pair's interval is the plain paired one" in " ".join(findings(paired, workload)).lower()


def test_a_clear_leader_is_named_with_its_ratio_to_the_next(run: Run, summary: Summary) -> None:
    first, *_, last = findings(summary.levels[0], run.meta.workload("keep-alive"))

    assert first.startswith("Of the valid results, granian-asgi has the highest figure")
    assert "the requests/s of the next, granian-wsgi" in first
    assert last.startswith("In no place, since something of their own limits them: uwsgi-http11 with 1")
    assert last.endswith("): it closes its connections.")


def test_waiting_requests_are_told_as_how_many_wait_at_once(run: Run, summary: Summary) -> None:
    sentences = " ".join(findings(summary.levels[3], run.meta.workload("wait")))

    assert "With requests that wait 10 ms, granian-asgi kept 5" in sentences


def test_one_block_is_told_without_a_ranking(tmp_path: Path, run: Run) -> None:
    one = small(tmp_path, BY_ID["uvicorn"], BY_ID["granian-asgi"], plan=replace(QUIET, blocks=1))

    assert findings(one.levels[0], run.meta.workload("keep-alive"))[0].startswith(
        "No ranking: that needs 3 blocks"
    )


def test_the_terminal_table_shows_places_ties_and_reasons(summary: Summary) -> None:
    console = Console(width=200, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(standings_table(summary.levels[0]))

    text = captured.get()
    assert "3 to 4" in text
    assert "limited: it closes its connections (reuse): uwsgi-http11" in text
    assert "unsupported: does not declare keep-alive" in text


def also(subject: str, load: Load, figure: float, **more: Any) -> Truth:
    return replace(BY_ID[subject], rates={load.name: figure}, **more)


def told(tmp_path: Path, load: Load, *subjects: Truth, rounds: int = 24) -> tuple[list[str], str]:
    """The sentences of one level, and its conditions."""
    plan = Plan(blocks=4, rounds=rounds, drift=0.003, slice_noise=0.01, block_noise=0.003)
    run = load_run(make_run(tmp_path / "run", plan, subjects, [load]))
    level = summarize(run).levels[0]
    return findings(level, run.meta.workload(load.name)), conditions(run, level)


def test_the_lowest_response_time_leads_and_the_next_is_told_as_higher(tmp_path: Path) -> None:
    fast = also("uvicorn", STEADY, 9_000, p99_us={"steady": 4_000.0})
    slow = also("hypercorn", STEADY, 9_000, p99_us={"steady": 8_000.0})

    (first, by_p50, apart), _ = told(tmp_path, STEADY, slow, fast)

    assert by_p50.startswith("uvicorn has the lowest p50 of the response time, ")
    assert apart == "Told apart, of 1 pair: 1 by p50, 1 by p90 and 1 by p99."
    assert re.fullmatch(
        r"uvicorn has the lowest p99 of the response time, [34]\.\d\d ms \([34]\.\d\d to [34]\.\d\d\); "
        r"that of the next, hypercorn, is (1\.9|2\.0)\d times \(1\.\d\d to 2\.\d\d\) as high\.",
        first,
    )


def test_the_best_of_each_interface_are_compared_by_their_response_times(tmp_path: Path) -> None:
    subjects = [
        also("uvicorn", STEADY, 9_000, p99_us={"steady": 4_000.0}),
        also("granian-asgi", STEADY, 9_000, p99_us={"steady": 5_000.0}),
        also("waitress", STEADY, 9_000, p99_us={"steady": 12_000.0}),
    ]

    (_, second, *_), _ = told(tmp_path, STEADY, *subjects)

    assert second.startswith("The p99 of the response time of the best valid WSGI subject, waitress, is ")
    assert second.endswith("that of the best valid ASGI subject, uvicorn.")


def test_an_overloaded_server_is_told_apart_from_those_withheld(tmp_path: Path) -> None:
    sentences, _ = told(
        tmp_path,
        STEADY,
        also("uvicorn", STEADY, 9_000),
        also("hypercorn", STEADY, 1_000),
        also("waitress", STEADY, 9_000, lag_us=5_000.0),
    )

    assert "nothing valid to compare it with" in sentences[0]
    assert sentences[1:] == [
        "hypercorn was overloaded at 2,000 requests/s.",
        "Left out of the comparison: waitress (withheld: send-lag).",
    ]


def test_subjects_with_too_few_latencies_for_a_p99_are_neither_ranked_nor_called_invalid(
    tmp_path: Path,
) -> None:
    sentences, _ = told(
        tmp_path, STEADY, also("uvicorn", STEADY, 9_000), also("hypercorn", STEADY, 9_000), rounds=1
    )

    (sentence,) = sentences
    assert sentence == (
        "No ranking: too little was measured for the p99 of the response time. "
        "hypercorn and uvicorn served as they should; the notes say what is missing."
    )


def test_a_tie_at_the_lowest_figure_is_told_as_one(tmp_path: Path) -> None:
    (first, *_), _ = told(tmp_path, IDLE, also("uvicorn", IDLE, 20.0), also("hypercorn", IDLE, 20.1))

    assert "has the lowest server memory of an idle connection, 2" in first
    assert first.endswith("cannot be told apart from it.")


def test_a_search_is_told_as_the_rate_it_found(tmp_path: Path) -> None:
    (first, *_), _ = told(tmp_path, SEARCH, also("uvicorn", SEARCH, 8_000), also("hypercorn", SEARCH, 2_000))

    assert first.startswith("uvicorn has the highest rate within the objective, ")
    assert first.endswith("the requests/s of the next, hypercorn.")


def test_the_conditions_say_how_a_level_was_loaded(tmp_path: Path) -> None:
    said = {
        load.name: told(tmp_path / load.name, load, also("uvicorn", load, 9_000))[1]
        for load in (STEADY, SEARCH, IDLE)
    }

    assert (
        "2,000 requests/s over 64 connections, open loop: requests left at their moments (Poisson arrivals), "
        "the same for every subject; 4 of 4 blocks of 24 rounds of 250 ms slices" in said["steady"]
    )
    assert "at rates that a search chose slice by slice" in said["search"]
    assert "Up to 4,000 idle connections, held open in 5 steps; 4 of 4 blocks; seed" in said["websocket-idle"]


def test_what_is_known_of_the_machine_has_names_and_units(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", Plan(blocks=1, rounds=2), [BY_ID["uvicorn"]], [STEADY]))
    machine = {"memory_mib": 24105, "cpu_governor": None, "a_later_version_adds": 7}

    assert machine_facts(run.meta.replaced(machine=machine)) == [
        ("Memory", "24,105 MiB"),
        ("CPU frequency governor", "not known"),
        ("a_later_version_adds", "7"),
    ]


@pytest.mark.parametrize(
    ("facts", "in_caption", "in_list"),
    [
        ({"virtualization": "a virtual machine (kvm)"}, "X, a virtual machine (kvm), L, cores", None),
        (
            {"virtualization": "a virtual machine (kvm)", "container": "docker"},
            "X, a virtual machine (kvm), the lab itself in a container (docker), L, cores",
            None,
        ),
        ({"container": "docker"}, "X, the lab itself in a container (docker), L, cores", None),
        ({"virtualization": "no hypervisor seen"}, "X, no hypervisor seen, L, cores", None),
        ({"virtualization": None}, "X, L, cores", "not known"),
        ({"virtualization": "kvm"}, "X, a virtual machine (kvm), L, cores", "a virtual machine (kvm)"),
        ({"virtualization": "hypervisor"}, "X, a virtual machine, L, cores", "a virtual machine"),
        ({"virtualization": "none"}, "X, no hypervisor seen, L, cores", "no hypervisor seen"),
        (
            {"virtualization": "docker"},
            "X, L, cores",
            "not certain: the lab's machine bore marks of a container (docker)",
        ),
    ],
)
def test_a_virtual_machine_and_the_labs_own_container_are_told_in_words_that_are_not_the_runners(
    run: Run, summary: Summary, facts: dict[str, str | None], in_caption: str, in_list: str | None
) -> None:
    meta = run.meta.replaced(machine={"cpu": "X", "system": "L", **facts})

    assert f"This machine's figures: {in_caption}: " in conditions(replace(run, meta=meta), summary.levels[0])
    told_of = dict(machine_facts(meta)).get("Virtualization")
    assert told_of == (in_list or facts.get("virtualization"))
    assert dict(machine_facts(meta)).get("Container that the lab itself was in") == facts.get("container")


def test_the_load_generators_container_is_not_taken_for_the_labs_own(run: Run, summary: Summary) -> None:
    meta = run.meta.replaced(runner="docker", machine={"cpu": "X", "container": "docker"})

    assert "figures: X, cores: " in conditions(replace(run, meta=meta), summary.levels[0])
    assert machine_facts(meta) == [("Processor", "X")]


@pytest.mark.parametrize(
    ("load", "rounds", "reasons"),
    [
        (STEADY, 1, ["  —: too few samples"]),
        (STEADY, 24, []),
        (LOADS[0], 1, ["  —: too few samples"]),
        (LOADS[0], 24, []),
        (SEARCH, 2, ["  —: a search needs 6 slices after it has turned twice; give it more time"]),
    ],
    ids=["short open", "long open", "short closed", "long closed", "short search"],
)
def test_the_terminal_table_says_once_what_its_dashes_mean_and_nothing_without_any(
    tmp_path: Path, load: Load, rounds: int, reasons: list[str]
) -> None:
    subjects = [also(name, load, 9_000.0) for name in ("uvicorn", "hypercorn")]
    made = make_run(tmp_path / "run", replace(QUIET, rounds=rounds), subjects, [load])
    console = Console(width=200, force_terminal=False)
    with console.capture() as captured:
        console.print(standings_table(summarize(load_run(made)).levels[0]))

    lines = captured.get().splitlines()
    assert [line for line in lines if line.startswith("  —")] == reasons
    assert any(line.endswith("—") or " — " in line for line in lines[2:4]) == bool(reasons)


def test_the_terminal_table_of_an_open_loop_leads_with_its_p99(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", QUIET, [also("uvicorn", STEADY, 9_000)], [STEADY]))
    console = Console(width=200, force_terminal=False)
    with console.capture() as captured:
        console.print(standings_table(summarize(run).levels[0]))

    title, heads, *_ = captured.get().splitlines()
    assert title.startswith("steady, 2,000 requests/s over 64 connections: Response time p99 (ms), lower is")
    assert heads.split() == ["place", "subject", "p99", "ms", "95", "%", "interval", "p50", "ms"]


def test_the_terminal_table_of_idle_connections_has_no_latencies(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", QUIET, [also("uvicorn", IDLE, 20.0)], [IDLE]))
    console = Console(width=200, force_terminal=False)
    with console.capture() as captured:
        console.print(standings_table(summarize(run).levels[0]))

    assert captured.get().splitlines()[1].split() == ["place", "subject", "KiB", "95", "%", "interval"]


IDLING = replace(BY_ID["uvicorn"], cpu_share={"keep-alive": 0.5})
BRIEF = Plan(blocks=3, rounds=3)
KEEP_ALIVE = next(load for load in LOADS if load.name == "keep-alive")


def test_a_run_without_any_figure_to_rank_by_says_so_first(tmp_path: Path) -> None:
    busy = replace(BY_ID["uvicorn"], busy_share=0.95)
    run = load_run(make_run(tmp_path / "busy", BRIEF, [busy, replace(busy, id="other")], [KEEP_ALIVE]))
    summary = summarize(run)

    said = without_figures(summary.cells)

    assert said.startswith("This run has no figure to rank by; its 2 cells are generator-busy (2)")
    assert said in render(run, summary, {("keep-alive", "c64"): []})


def test_limited_figures_stand_where_their_values_put_them_and_have_no_place(tmp_path: Path) -> None:
    rates = {"third": 3_000.0, "first": 2_000.0, "second": 1_000.0}
    subjects = [replace(IDLING, id=name, rates={"keep-alive": rate}) for name, rate in rates.items()]
    (level,) = summarize(load_run(make_run(tmp_path / "idle", BRIEF, subjects, [KEEP_ALIVE]))).levels

    assert [cell.subject for cell in ordered(level)] == list(rates)
    assert {row.best for row in standings(level)} == {None}
    assert level.comparisons == ()


def test_a_withheld_figure_is_shown_nowhere(tmp_path: Path) -> None:
    rates = {"b": 3_000.0, "a": 2_000.0}
    busy = [
        replace(BY_ID["uvicorn"], id=name, rates={"keep-alive": rate}, busy_share=0.95)
        for name, rate in rates.items()
    ]
    (level,) = summarize(load_run(make_run(tmp_path / "busy", BRIEF, busy, [KEEP_ALIVE]))).levels

    assert [cell.subject for cell in ordered(level)] == sorted(rates)
    assert {cell.lead for cell in level.cells} == {None}


HAVE = "cells have the figure that they are ranked by"
BUSY = (
    "the others: generator-busy (1). Of generator-busy: the load engine was busy. Give the engine more cores"
)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, f"1 of 1 {HAVE}."),
        ({"cpu_share": {"keep-alive": 0.3}}, f"1 of 1 {HAVE}, 1 of them limited."),
        ({"busy_share": 0.95}, f"0 of 1 {HAVE}; {BUSY}"),
    ],
    ids=["all", "limited", "withheld"],
)
def test_the_last_line_counts_the_figures_and_names_the_best_next_step(
    tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    subject = replace(BY_ID["uvicorn"], **more)
    summary = summarize(load_run(make_run(tmp_path / "run", BRIEF, [subject], [KEEP_ALIVE])))

    assert in_closing(summary.cells).startswith(said)


def test_the_last_line_calls_a_figure_that_could_not_be_had_by_no_other_note(tmp_path: Path) -> None:
    summary = summarize(load_run(make_run(tmp_path / "run", BRIEF, [BY_ID["uvicorn"]], [KEEP_ALIVE])))
    notes = ("left-out: 2 of 9 slices", "not-measured: p99: too few latencies")
    cells = [replace(cell, lead=None, reasons=notes) for cell in summary.cells]

    assert in_closing(cells) == f"0 of 1 {HAVE}; the others: not-measured (1)."
