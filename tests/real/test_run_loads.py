"""One whole run with every kind of load that a workload may ask for, against an honest server."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gatebench.results.columns import LATE_LIMIT
from tests.support.lab import OWN_FOLDERS, Ended, Results, assert_went_well, blamed, gatebench, run_arguments

HONEST = "honest-asgi"
BROKEN = """
description = "A Locust file that cannot be used"
transport = "keep-alive"
slice = "1s"
warmup = "100ms"
profiles = ["smoke"]

[load]
model = "locust"
users = [4]
"""
RAISING = """
from locust import FastHttpUser, task

class Raiser(FastHttpUser):
    @task
    def work(self):
        raise RuntimeError("its own fault")
"""
LEAVING = """
from locust import FastHttpUser, task
from locust.exception import StopUser

class Leaver(FastHttpUser):
    def on_start(self):
        raise StopUser()

    @task
    def work(self):
        self.client.get("/json")
"""
LOGGING_IN = """
from locust import FastHttpUser, constant, task

class Member(FastHttpUser):
    wait_time = constant(0.01)

    @task
    def visit(self):
        self.client.post("/auth/login", json={"email": "a@example.org"})
        self.client.get("/json")
"""


@pytest.fixture(scope="module")
def loads(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Results]:
    """A run of an honest server under every kind of load."""
    folder = tmp_path_factory.mktemp("loads")
    broken = folder / "workloads" / "kind-broken"
    broken.mkdir(parents=True)
    (broken / "workload.toml").write_text(BROKEN)
    (broken / "locustfile.py").write_text(LEAVING)
    raising = broken.with_name("kind-raising")
    raising.mkdir()
    (raising / "workload.toml").write_text(BROKEN)
    (raising / "locustfile.py").write_text(RAISING)
    member = broken.with_name("kind-member")
    member.mkdir()
    (member / "workload.toml").write_text(BROKEN)
    (member / "locustfile.py").write_text(LOGGING_IN)
    out = folder / "run"
    arguments = run_arguments(out, HONEST, "kind-*")
    return gatebench(folder, *arguments, "--workloads-dir", str(broken.parent)), Results(out)


def cell(results: Results, workload: str) -> dict[str, Any]:
    """The row of a workload that must have gone well but for the machine."""
    found = results.cell(HONEST, workload)
    assert_went_well(found)
    return found


def slices(results: Results, workload: str) -> pd.DataFrame:
    """The raw slices of the honest server under a workload."""
    every = pd.read_parquet(results.folder / "slices.parquet")
    return every[(every["workload"] == workload) & (every["subject"] == HONEST)]


def test_every_kind_of_load_is_measured_and_one_that_cannot_be_stops_no_other(
    loads: tuple[Ended, Results],
) -> None:
    ended, results = loads
    assert results.events[-1]["outcome"] == "complete", ended.said
    for workload in ("window", "handshake", "upload", "locust"):
        assert cell(results, f"kind-{workload}")["requests"] > 0


def test_an_open_loop_offers_its_rate_and_keeps_every_clock(loads: tuple[Ended, Results]) -> None:
    _, results = loads
    found = cell(results, "kind-open")
    assert (found["metric"], found["rate_per_s"]) == ("p99", 300)
    raw = slices(results, "kind-open")
    assert set(raw["offered"]) == {60}
    histograms = pd.read_parquet(results.folder / "histograms.parquet")
    here = (histograms["workload"] == "kind-open") & (histograms["subject"] == HONEST)
    own = histograms[here].groupby("clock")["count"].sum()
    assert own["response"] == own["service"] == raw["offered"].sum()
    assert own["lag"] <= own["response"]


def test_a_server_that_is_asked_too_much_is_overloaded_and_nothing_is_forgotten(
    loads: tuple[Ended, Results],
) -> None:
    _, results = loads
    found = results.cell(HONEST, "kind-overload")
    assert found["lead"]["status"] == "withheld"
    # Where others had the server's core too, it is not its fault alone, and they are named instead.
    assert blamed(found, "rate-missed", "shared-core") & {"rate-missed", "shared-core"}
    raw = slices(results, "kind-overload")
    kept = raw[["completed", "drained", "unsent"]].sum(axis=1)
    assert list(kept) == list(raw["offered"])


def test_a_ladder_is_a_share_of_what_its_reference_did(loads: tuple[Ended, Results]) -> None:
    ended, results = loads
    rate = cell(results, "kind-ladder")["rate_per_s"]
    assert rate > 0
    assert set(slices(results, "kind-ladder")["rate_per_s"]) == {rate}
    assert f"so the rates are {rate:,.0f} requests/s" in ended.said


def test_a_search_goes_up_and_down_as_its_slices_keep_to_the_objective(
    loads: tuple[Ended, Results],
) -> None:
    _, results = loads
    raw = slices(results, "kind-objective").sort_values("round")
    rates, met = list(raw["rate_per_s"]), list(raw["objective_met"])
    disturbed = list(raw["shared"] | raw["stolen"] | (raw["left_out"] > LATE_LIMIT * raw["offered"]))
    assert len(rates) >= 2
    for number in range(len(rates) - 1):
        if disturbed[number]:  # the same rate once more
            assert rates[number + 1] == rates[number]
        else:
            assert (rates[number + 1] > rates[number]) == met[number]


def test_idle_connections_are_held_at_every_step(loads: tuple[Ended, Results]) -> None:
    _, results = loads
    found = cell(results, "kind-idle")
    raw = slices(results, "kind-idle").sort_values("round")
    assert list(raw["connections"]) == [0, 100, 200]
    assert list(raw["completed"]) == [0, 100, 200]
    assert found["metric"] == "connection_kib"
    if found["lead"]["status"] == "ok":
        assert found["lead"]["estimate"] > 0
        assert 0 < found["fit"] <= 1
    else:  # the machine had other work, which the reasons name
        assert found["figures"]["memory_mib"]["reasons"]


def test_every_broadcast_reaches_every_subscriber(loads: tuple[Ended, Results]) -> None:
    _, results = loads
    cell(results, "kind-broadcast")
    raw = slices(results, "kind-broadcast")
    broadcasts = int((raw["completed"] + raw["drained"]).sum())
    assert int(raw["latency_count"].sum()) == 8 * broadcasts > 0


def test_a_locust_file_that_cannot_be_used_fails_its_cell_and_says_why(loads: tuple[Ended, Results]) -> None:
    _, results = loads
    found = results.cell(HONEST, "kind-broken")
    assert found["status"] == "failed"
    assert blamed(found) == {"load"}
    assert "locustfile.py" in "\n".join(found["reasons"])


def test_an_error_of_a_locust_file_is_not_charged_to_the_server(loads: tuple[Ended, Results]) -> None:
    _, results = loads
    found = results.cell(HONEST, "kind-raising")
    assert blamed(found) == {"load"}
    assert "its own fault" in "\n".join(found["reasons"])


def test_a_locust_file_that_failed_in_one_block_is_not_tried_in_the_next(tmp_path: Path) -> None:
    workload = tmp_path / "workloads" / "kind-broken"
    workload.mkdir(parents=True)
    (workload / "workload.toml").write_text(BROKEN.replace("smoke", "standard"))
    (workload / "locustfile.py").write_text(LEAVING)
    out = tmp_path / "run"
    chosen = ("--servers", HONEST, "--workloads", "kind-broken", "--budget", "10s", "--out", str(out))
    own = ("--workloads-dir", str(workload.parent), *OWN_FOLDERS)
    ended = gatebench(tmp_path, "run", "--profile", "standard", *own, *chosen)
    events = Results(out).events
    assert sum(each["kind"] == "block-finished" for each in events) > 1, ended.said
    assert [each["code"] for each in events if each["kind"] == "failed"] == ["load"]


def test_two_engines_and_two_workers_are_added_up(tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = gatebench(
        tmp_path,
        *run_arguments(out, HONEST, "kind-open steady-close"),
        "--load-workers",
        "2",
        "--engines",
        "1",
    )
    results = Results(out)
    assert results.events[-1]["outcome"] == "complete", ended.said
    assert set(slices(results, "kind-open")["offered"]) == {60}
    assert set(slices(results, "kind-open")["workers_missing"]) == {0}
    assert cell(results, "steady-close")["requests"] > 0


def test_a_login_that_the_application_does_not_have_is_named_wherever_a_person_looks(
    loads: tuple[Ended, Results],
) -> None:
    ended, results = loads
    found = results.cell(HONEST, "kind-member")
    assert found["status"] == "withheld"
    assert "errors" in blamed(found)
    assert found["errors"]["status"] > 0
    (example,) = found["examples"]["status"]
    assert example.startswith("POST /auth/login: ")
    assert "404" in example
    (reason,) = [reason for reason in found["reasons"] if reason.startswith("errors:")]
    assert f" First status: {example}. Hold that request against the routes" in reason
    assert "backlog" not in reason
    assert f"status: {example} [{HONEST}]" in " ".join(ended.said.split())
    assert html.escape(example) in (results.folder / "report.html").read_text()
