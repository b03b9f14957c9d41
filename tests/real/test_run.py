"""Whole runs with real servers: what an honest one leaves, how faults are told, what early ends leave."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from gatebench.machine.processes import OWNER_VARIABLE, Owner
from tests.support.lab import (
    OWN_FOLDERS,
    SUPPORT,
    Command,
    Ended,
    Results,
    assert_done,
    assert_went_well,
    blamed,
    gatebench,
    long_run,
    measured_blocks,
    run_arguments,
)
from tests.support.small_server.faults import DYING_STATUS, DYING_WORDS

HTTP = ("steady-close", "steady-keep-alive")
CELL_KEYS = {
    "subject",
    "server",
    "app",
    "interface",
    "workload",
    "level",
    "status",
    "reasons",
    "blocks",
    "requests",
    "errors",
    "lead",
    "figures",
    "requests_per_connection",
}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Results]:
    """A run of the two honest servers under every workload of the tests."""
    folder = tmp_path_factory.mktemp("honest")
    out = folder / "results" / "first"
    return gatebench(folder, *run_arguments(out, "honest")), Results(out)


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Results]:
    """A run of an honest server among faulty ones, each with its own fault."""
    folder = tmp_path_factory.mktemp("faults")
    faulty = "dies worker exits wrong-byte wrong-routes hangs-up deaf"
    servers = " ".join(["honest-asgi", *(f"faulty-{name}" for name in faulty.split())])
    out = folder / "run"
    return gatebench(folder, *run_arguments(out, servers, " ".join(HTTP))), Results(out)


def test_a_run_of_honest_servers_ends_well(honest: tuple[Ended, Results]) -> None:
    ended, results = honest
    assert_done(ended, results)
    assert results.events[-1]["kind"] == "finished"


def test_every_declared_cell_of_an_honest_server_is_valid(honest: tuple[Ended, Results]) -> None:
    _, results = honest
    declared = [("honest-wsgi", name) for name in HTTP]
    declared += [("honest-asgi", name) for name in (*HTTP, "steady-websocket")]
    for subject, workload in declared:
        assert_went_well(results.cell(subject, workload))


def test_wsgi_under_websockets_is_a_row_that_says_unsupported(honest: tuple[Ended, Results]) -> None:
    _, results = honest
    cell = results.cell("honest-wsgi", "steady-websocket")
    assert cell["status"] == "unsupported"
    assert cell["reasons"] == ["unsupported: honest-wsgi does not declare websocket"]
    assert cell["requests"] is None
    assert cell["lead"] == {"status": "unsupported", "estimate": None, "low": None, "high": None}


def test_the_summary_has_every_promised_key(honest: tuple[Ended, Results]) -> None:
    _, results = honest
    summary = results.summary
    assert summary["schema"] == 2
    assert set(summary) >= {"schema", "run", "runner", "profile", "seed", "cells", "comparisons", "claims"}
    assert summary["runner"] == "process"
    for cell in summary["cells"]:
        assert set(cell) >= CELL_KEYS


def test_a_run_leaves_raw_data_charts_and_a_report(honest: tuple[Ended, Results]) -> None:
    _, results = honest
    slices = pd.read_parquet(results.folder / "slices.parquet")
    histograms = pd.read_parquet(results.folder / "histograms.parquet")
    assert set(slices["subject"]) == {"honest-wsgi", "honest-asgi", "null-responder~limit"}
    assert int(histograms["count"].sum()) == int(slices["latency_count"].sum()) > 0
    vectors = {file.stem for file in (results.folder / "charts").glob("*.svg")}
    light = {stem for stem in vectors if not stem.endswith("-dark")}
    assert {"memory", "steadiness"} <= light
    assert vectors == light | {f"{stem}-dark" for stem in light}
    assert vectors == {file.stem for file in (results.folder / "charts").glob("*.png")}
    assert "honest-asgi" in (results.folder / "report.html").read_text()
    assert (results.folder.parent / "latest").resolve() == results.folder


def test_the_null_responder_takes_its_turns_in_the_rounds_and_is_no_row(
    honest: tuple[Ended, Results],
) -> None:
    _, results = honest
    slices = pd.read_parquet(results.folder / "slices.parquet")
    turns = slices.groupby(["workload", "subject"]).size().unstack()
    assert (turns["null-responder~limit"] == turns["honest-asgi"]).all()
    for limit in results.summary["limits"]:
        assert (limit["status"], limit["responder"]) == ("ok", "null responder")
        assert limit["rps"]["estimate"] > 0
        assert limit["latency_us"]["p50"] > 0
    assert {limit["workload"] for limit in results.summary["limits"]} == set(slices["workload"])
    assert {row["subject"] for row in results.summary["cells"]} == {"honest-wsgi", "honest-asgi"}


def test_the_report_can_be_made_again_from_the_raw_data(
    honest: tuple[Ended, Results], tmp_path: Path
) -> None:
    _, results = honest
    before = results.summary
    (results.folder / "summary.json").unlink()
    assert gatebench(tmp_path, "report", str(results.folder)).status == 0
    assert results.summary == before


def test_a_failed_server_makes_the_exit_status_1_and_stops_no_other(faults: tuple[Ended, Results]) -> None:
    ended, results = faults
    assert ended.status == 1
    assert results.events[-1]["outcome"] == "complete"
    for cell in results.cells("honest-asgi"):
        assert_went_well(cell)


def reasons_of_failed(results: Results, subject: str, code: str) -> str:
    """Every reason of a subject of which each row must be failed, one at least with this code."""
    cells = results.cells(subject)
    assert {cell["status"] for cell in cells} == {"failed"}
    assert any(code in blamed(cell) for cell in cells)
    return "\n".join(reason for cell in cells for reason in cell["reasons"])


def test_a_server_that_dies_in_the_middle_is_failed_with_its_last_words(
    faults: tuple[Ended, Results],
) -> None:
    text = reasons_of_failed(faults[1], "faulty-dies", "died")
    assert f"exited with status {DYING_STATUS}" in text
    assert DYING_WORDS in text


def test_a_worker_that_dies_and_is_replaced_is_noticed(faults: tuple[Ended, Results]) -> None:
    text = reasons_of_failed(faults[1], "faulty-worker", "died")
    assert "a worker of the server ended" in text
    assert DYING_WORDS in text


def test_a_server_that_does_not_start_is_failed_with_its_last_words(faults: tuple[Ended, Results]) -> None:
    text = reasons_of_failed(faults[1], "faulty-exits", "start")
    assert "exited with status 3" in text
    assert "cannot begin: no luck today" in text


def test_wrong_answers_at_verification_are_all_listed(faults: tuple[Ended, Results]) -> None:
    text = reasons_of_failed(faults[1], "faulty-wrong-routes", "contract")
    assert "GET /json: body" in text
    assert "GET /cpu/10: body" in text


def test_wrong_bytes_under_load_leave_a_cell_without_figures(faults: tuple[Ended, Results]) -> None:
    for cell in faults[1].cells("faulty-wrong-byte"):
        assert (cell["status"], blamed(cell)) == ("withheld", {"wrong-body"})
        assert cell["errors"]["body"] > 0


def test_a_keep_alive_that_is_declared_and_not_kept_is_told(faults: tuple[Ended, Results]) -> None:
    _, results = faults
    cell = results.cell("faulty-hangs-up", "steady-keep-alive")
    assert cell["lead"]["status"] in {"limited", "withheld"}
    assert blamed(cell) == {"reuse"}
    assert_went_well(results.cell("faulty-hangs-up", "steady-close"))


def test_a_server_that_is_deaf_to_its_stop_signal_is_measured_and_then_killed(
    faults: tuple[Ended, Results],
) -> None:
    # That it is gone is what `Command.end` has made sure of.
    _, results = faults
    for cell in results.cells("faulty-deaf"):
        assert_went_well(cell)
    assert "asked to stop, and ignored it" in (results.folder / "logs" / "faulty-deaf-b0.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_and_reports_what_it_measured(
    tmp_path: Path, number: signal.Signals
) -> None:
    command, results = long_run(tmp_path)
    command.send(number)
    ended = command.end()
    assert ended.status == 130, ended.said
    assert ended.said.index("interrupted: the report comes next") < ended.said.index("making the report")
    assert results.events[-1]["outcome"] == "interrupted"
    assert 0 in set(pd.read_parquet(results.folder / "slices.parquet")["block"])
    for cell in results.summary["cells"]:
        assert_went_well(cell)
    assert (results.folder / "report.html").exists()
    assert list((results.folder / "charts").glob("*.svg"))


def test_a_run_that_is_interrupted_before_its_first_slice_leaves_nothing_running(tmp_path: Path) -> None:
    results = Results(tmp_path / "run")
    command = Command(tmp_path, *run_arguments(results.folder, "honest faulty-silent", "steady-close"))
    command.wait_until("servers to be up", lambda: len(command.servers) >= 3)
    command.wait_until("verification", lambda: "holding every server" in command.said)
    command.send(signal.SIGHUP)
    ended = command.end()
    assert ended.status == 130, ended.said
    assert results.events[-1]["outcome"] == "interrupted"


def test_after_kill_9_nothing_is_left_and_what_was_measured_is_whole(tmp_path: Path) -> None:
    command, results = long_run(tmp_path)
    assert command.servers
    command.send(signal.SIGKILL)
    assert command.end().status == -signal.SIGKILL
    assert set(pd.read_parquet(results.folder / "slices.parquet")["block"]) >= {0}

    assert gatebench(tmp_path / "report", "report", str(results.folder)).status == 0
    for cell in results.summary["cells"]:
        assert_went_well(cell)

    again = gatebench(tmp_path / "again", "verify", *OWN_FOLDERS[:2], "--servers", "honest")
    assert again.status == 0, again.said


def server_folder(folder: Path, name: str, requirements: str, extra: str = "") -> None:
    """A user's own server folder with one variant."""
    own = folder / name
    own.mkdir(parents=True)
    (own / "requirements.txt").write_text(requirements)
    (own / "server.toml").write_text(
        'homepage = "https://example.org/"\n'
        f"{extra}\n"
        "[variants.default]\n"
        'interface = "wsgi"\n'
        'command = ["never-started", "{app}", "{host}:{port}"]\n'
        'supports = ["close"]\n' + ('needs = ["no-such-command"]\n' if extra else "")
    )


def test_a_server_that_cannot_be_installed_is_unavailable_and_the_others_are_measured(tmp_path: Path) -> None:
    server_folder(tmp_path / "servers", "unreachable", "gatebench-is-no-package==1.0\n")
    server_folder(
        tmp_path / "servers", "needy", "# nothing\n", '[remedies]\nno-such-command = "apt-get install such"'
    )
    no_index = {
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "UV_HTTP_RETRIES": "0",
    }
    results = Results(tmp_path / "run")
    arguments = run_arguments(results.folder, "honest-asgi unreachable needy", "steady-close")
    ended = gatebench(tmp_path, *arguments, "--servers-dir", str(tmp_path / "servers"), environment=no_index)

    (unreachable,) = results.cells("unreachable")
    assert unreachable["status"] == "unavailable"
    assert "the package index cannot be reached" in unreachable["reasons"][0]
    (needy,) = results.cells("needy")
    assert needy["status"] == "unavailable"
    assert "the command no-such-command is missing: run `apt-get install such`" in needy["reasons"][0]
    assert_went_well(results.cell("honest-asgi", "steady-close"))
    assert_done(ended, results)


def test_a_server_that_was_not_ready_is_not_started_in_every_block(tmp_path: Path) -> None:
    out = tmp_path / "run"
    chosen = ("--servers", "honest-wsgi faulty-exits faulty-wrong-routes", "--workloads", "steady-close")
    options = ("--profile", "standard", "--budget", "4s", "--out", str(out))
    ended = gatebench(tmp_path, "run", *OWN_FOLDERS, *chosen, *options)
    assert ended.status == 1, ended.said
    results = Results(out)
    failed = [(event["subject"], event["block"]) for event in results.events if event["kind"] == "failed"]
    competitors = sorted(each for each in failed if "~" not in each[0])
    assert competitors == [("faulty-exits", 0), ("faulty-wrong-routes", 0)]
    assert "left out of later blocks" in ended.said
    assert measured_blocks(results, "honest-wsgi") == 5


def test_a_run_without_a_report_has_failed_and_says_why(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = Command(tmp_path, *run_arguments(out, "honest-wsgi", "steady-close"))
    command.wait_until("the run's folder", (out / "logs").exists)
    (out / "charts").write_text("where the charts belong")
    ended = command.end()
    assert ended.status == 1
    assert f"the report could not be made: cannot write to {out / 'charts'}: " in ended.said


def test_a_run_in_which_nothing_can_be_measured_says_why_in_its_rows_and_fails(tmp_path: Path) -> None:
    server_folder(
        tmp_path / "servers", "needy", "# nothing\n", '[remedies]\nno-such-command = "apt-get install such"'
    )
    results = Results(tmp_path / "run")
    arguments = run_arguments(results.folder, "needy", "steady-close")
    ended = gatebench(tmp_path, *arguments, "--servers-dir", str(tmp_path / "servers"))
    assert ended.status == 1
    assert "nothing was measured" in ended.said
    assert "Traceback" not in ended.said
    assert {cell["status"] for cell in results.summary["cells"]} == {"unavailable"}
    assert (results.folder / "report.html").exists()


def test_a_lab_that_begins_later_on_the_same_machine_is_named_once(tmp_path: Path) -> None:
    command, results = long_run(tmp_path)
    marked = os.environ | {OWNER_VARIABLE: str(Owner.this())}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=marked) as other:
        ended = command.end()
        assert other.poll() is None
        other.communicate(b"\n")
    text = f"process {os.getpid()} is another lab at work on this machine; both disturb each other's figures"
    assert [event["text"] for event in results.events if event["kind"] == "notice"].count(text) == 1
    assert text in " ".join(ended.said.split())
    assert text in (results.folder / "report.html").read_text().replace("&#39;", "'")


@pytest.mark.parametrize("edited", ["servers/honest/server.toml", "workloads/kind-locust/locustfile.py"])
def test_a_run_ends_where_what_it_starts_anew_in_each_block_is_no_longer_what_it_was(
    tmp_path: Path, edited: str
) -> None:
    for folder in ("servers", "workloads"):
        shutil.copytree(SUPPORT / folder, tmp_path / folder)
    own = ("--servers-dir", tmp_path / "servers", "--workloads-dir", tmp_path / "workloads")
    results = Results(tmp_path / "run")
    chosen = ("--servers", "honest-wsgi", "--workloads", "kind-locust", "--profile", "standard")
    command = Command(
        tmp_path, "run", *map(str, own), *chosen, "--budget", "8s", "--out", str(results.folder)
    )
    command.wait_until(
        "a finished block", lambda: "block-finished" in [each["kind"] for each in results.events]
    )
    file = tmp_path / edited
    file.write_text(file.read_text() + "\n# another\n")
    ended = command.end()
    assert ended.status == 1
    assert f"{Path(edited).parent}" in ended.said
    assert "changed while the run went on" in " ".join(ended.said.split())
    finished = [event["block"] for event in results.events if event["kind"] == "block-finished"]
    assert 1 <= len(finished) < 5
    assert {cell["blocks"] for cell in results.summary["cells"]} <= {0, *range(len(finished) + 1)}
