"""The project's claims, held against runs whose truth is known."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.claims.check import check, scoped
from analysis.claims.evidence import Observation, keeps, shows
from analysis.claims.file import Limit, Scope, load_claims
from analysis.figures.results import CellResult, ClaimResult
from analysis.figures.summary import summarize
from analysis.reading.run import load_run
from analysis.reading.tables import Details, Named
from gatebench.results.schema import RequestMeta, WorkloadMeta
from tests.support.claiming import BY_ID, GRANIAN, WAITING, verdicts
from tests.support.pages import tell
from tests.support.summaries import QUIET, failure
from tests.support.synthetic import LOADS, VISIT, make_run
from tests.support.synthetic_model import Plan

KEEP_ALIVE = LOADS[0]
CPU = replace(KEEP_ALIVE, name="cpu", path="/cpu/1000")
STILL = replace(QUIET, drift=0.0, slice_noise=0.005, block_noise=0.001)


def threaded(content: dict[str, Any]) -> None:
    """The commands that name a number of threads, as their server.toml has them."""
    for subject in content["subjects"]:
        if subject["id"] in {"gunicorn-gthread", "uwsgi-http-socket"}:
            subject["command"] += ["--threads", "{threads}"]


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ClaimResult]:
    return verdicts(tmp_path_factory.mktemp("standard"), edit=threaded)


def test_the_shipped_claims_are_sound_and_each_names_its_source() -> None:
    claims = load_claims()
    assert len(claims) == 14
    assert all(claim.source.startswith("https://") or "METHOD.md" in claim.source for claim in claims)


def test_greenlets_contradict_that_waiting_blocks_a_wsgi_worker_and_threads_do_not(
    standard: dict[str, ClaimResult],
) -> None:
    found = standard["wsgi-waiting-blocks"]
    assert found.verdict == "contradicted"
    holds, _, rest = found.evidence.partition("no of ")
    fails, _, unknown = rest.partition("cannot be told of ")
    assert all(subject in holds for subject in ("gunicorn-sync", "gunicorn-gthread", "mod_wsgi", "waitress"))
    assert re.match(r"gunicorn-gevent \((19|2\d)", fails)
    assert "granian-wsgi (0." in unknown
    assert "512 threads, which 64 connections cannot fill" in unknown


def test_without_greenlets_and_unknown_threads_waiting_blocks_a_wsgi_worker(tmp_path: Path) -> None:
    plain = [BY_ID[name] for name in ("gunicorn-sync", "waitress", "mod_wsgi", "uvicorn")]
    found = verdicts(tmp_path, plain)["wsgi-waiting-blocks"]
    assert found.verdict == "supported"
    assert "uvicorn" not in found.evidence


def test_what_waits_for_each_thread_is_told_by_the_thread_with_the_sum_behind_it(
    standard: dict[str, ClaimResult],
) -> None:
    evidence = standard["wsgi-waiting-blocks"].evidence
    assert evidence.startswith("requests waiting at once for each thread under wait, at most 1: yes of ")
    found = re.search(r"waitress \(([\d.]+), [\d.]+ to [\d.]+; ([\d.]+) over 4 threads\)", evidence)
    assert found is not None
    assert float(found[1]) < 1
    assert float(found[2]) == pytest.approx(4 * float(found[1]), rel=0.005)
    assert re.search(r"gunicorn-sync \(0\.\d+, [\d.]+ to [\d.]+; 1 thread\)", evidence)


def test_a_subject_of_unknown_threads_leaves_what_is_said_of_every_one_undecided(tmp_path: Path) -> None:
    found = verdicts(tmp_path, [BY_ID["gunicorn-sync"], BY_ID["gunicorn-gthread"]])["wsgi-waiting-blocks"]
    assert found.verdict == "undecided"
    assert "gunicorn-gthread (the number of its threads is not known: name it under [threads])" in (
        found.evidence
    )


def test_asgi_handles_many_waiting_requests_and_the_evidence_counts_them(
    standard: dict[str, ClaimResult],
) -> None:
    found = standard["asgi-many-waiting"]
    assert found.verdict == "supported"
    assert re.search(r"granian-asgi \([45]\d\.?\d?, ", found.evidence)
    assert re.search(r"daphne \(1\d\.?\d?, ", found.evidence)


def test_few_waiting_requests_in_every_asgi_server_contradict_that_there_are_many(tmp_path: Path) -> None:
    few = replace(BY_ID["uvicorn"], rates=dict.fromkeys(BY_ID["uvicorn"].rates, 400.0))
    assert verdicts(tmp_path, [few])["asgi-many-waiting"].verdict == "contradicted"


def test_with_more_worker_processes_waiting_requests_are_counted_for_each(tmp_path: Path) -> None:
    def two_workers(content: dict[str, Any]) -> None:
        content["workers"] = 2
        content["subjects"][0]["takes_workers"] = True

    found = verdicts(tmp_path, [BY_ID["daphne"]], edit=two_workers)
    assert found["asgi-many-waiting"].verdict == "contradicted"
    assert "daphne (6.53, 6.36 to 6.69; 13.1 over 2 worker processes)" in found["asgi-many-waiting"].evidence


def test_websocket_is_supported_only_where_both_interfaces_were_verified(
    tmp_path: Path, standard: dict[str, ClaimResult]
) -> None:
    assert standard["asgi-websocket"].verdict == "supported"
    assert "measured under websocket-echo" in standard["asgi-websocket"].evidence
    found = verdicts(tmp_path, [BY_ID["uvicorn"]])["asgi-websocket"]
    assert found.verdict == "undecided"
    assert "websocket over WSGI: nothing in this run" in found.evidence


def test_what_an_application_does_not_answer_is_not_said_to_be_verified(tmp_path: Path) -> None:
    routes = ["/", "/plaintext"]

    def partly(content: dict[str, Any]) -> None:
        for subject in content["subjects"]:
            if subject["id"] in {"daphne", "waitress"}:
                subject["routes"] = routes
        for workload in content["workloads"]:
            workload["routes"] = ["/ws/echo"] if workload["transport"] == "websocket" else ["/plaintext"]

    subjects = [BY_ID[name] for name in ("uvicorn", "daphne", "waitress", "gunicorn-gthread")]
    found = verdicts(tmp_path / "part", subjects, edit=partly)["asgi-websocket"]
    assert found.verdict == "supported"
    assert "daphne (its application answers nothing that would show it)" in found.evidence
    assert "waitress (its application answers nothing that would show it)" in found.evidence
    assert "gunicorn-gthread (verified)" in found.evidence

    routes.append("/ws/echo")
    found = verdicts(tmp_path / "sockets", subjects, edit=partly)["asgi-websocket"]
    assert "yes of uvicorn and daphne (measured under websocket-echo)" in found.evidence
    assert "no of waitress and gunicorn-gthread (verified)" in found.evidence


def test_a_wsgi_server_that_carries_websocket_contradicts_that_none_does(tmp_path: Path) -> None:
    odd = replace(BY_ID["waitress"], rates={**BY_ID["waitress"].rates, "websocket-echo": 5_000.0})
    found = verdicts(tmp_path, [odd, BY_ID["uvicorn"]])["asgi-websocket"]
    assert found.verdict == "contradicted"
    assert "yes of waitress (measured under websocket-echo)" in found.evidence


def test_wsgi_servers_that_keep_connections_contradict_that_keep_alive_is_asgis(
    standard: dict[str, ClaimResult],
) -> None:
    found = standard["asgi-keep-alive"]
    assert found.verdict == "contradicted"
    over_wsgi = found.evidence.partition("keep-alive over WSGI: ")[2]
    keeps_them, _, rest = over_wsgi.partition("no of ")
    assert "gunicorn-gthread" in keeps_them
    assert "a connection under keep-alive" in keeps_them
    assert rest.startswith("gunicorn-sync and uwsgi-http-socket (verified)")


def test_a_server_that_closes_what_it_declares_to_keep_is_not_said_to_keep_it(
    standard: dict[str, ClaimResult],
) -> None:
    unknown = standard["asgi-keep-alive"].evidence.partition("cannot be told of ")[2]
    assert unknown.startswith("uwsgi-http11 (declared, but it closed connections after few answers (reuse))")


def test_servers_that_kept_the_contract_serve_their_interface(standard: dict[str, ClaimResult]) -> None:
    assert standard["wsgi-servers"].verdict == "supported"
    assert standard["asgi-servers"].verdict == "supported"
    assert "daphne (daphne kept the contract)" in standard["asgi-servers"].evidence


def test_a_server_that_is_not_in_the_run_leaves_the_claim_undecided(tmp_path: Path) -> None:
    found = verdicts(tmp_path, [BY_ID["uvicorn"]])["asgi-servers"]
    assert found.verdict == "undecided"
    assert "daphne (no such subject in this run)" in found.evidence


def test_a_server_that_breaks_the_contract_contradicts_that_it_serves(tmp_path: Path) -> None:
    subjects = [BY_ID["uvicorn"], BY_ID["daphne"]]
    broken = failure(0, "daphne", None, code="contract")
    found = verdicts(tmp_path, subjects, failures=[broken])["asgi-servers"]
    assert found.verdict == "contradicted"
    assert "daphne: failed: contract" in found.evidence


def test_a_server_that_could_not_be_installed_shows_nothing(tmp_path: Path) -> None:
    subjects = [BY_ID["uvicorn"], replace(BY_ID["daphne"], unavailable="no compiler")]
    found = verdicts(tmp_path, subjects)["asgi-servers"]
    assert found.verdict == "undecided"
    assert "daphne: unavailable" in found.evidence


def test_a_run_without_the_cpu_workload_cannot_tell_and_says_which_would(
    standard: dict[str, ClaimResult],
) -> None:
    found = standard["asyncio-cpu"]
    assert found.verdict == "undecided"
    assert "gatebench run --workloads cpu would tell" in found.evidence


@pytest.mark.parametrize(
    ("asgi", "wsgi", "plan", "expected"),
    [
        (1_000.0, 1_000.0, STILL, "supported"),
        (900.0, 1_000.0, STILL, "supported"),
        (1_200.0, 1_000.0, STILL, "contradicted"),
        (1_000.0, 1_000.0, replace(QUIET, blocks=2), "undecided"),
        (1_050.0, 1_000.0, replace(QUIET, block_noise=0.1), "undecided"),
    ],
)
def test_asyncio_is_no_faster_only_where_the_interval_says_so(
    tmp_path: Path, asgi: float, wsgi: float, plan: Plan, expected: str
) -> None:
    subjects = [
        replace(truth, rates={"cpu": rate}) for truth, rate in zip(GRANIAN, (wsgi, asgi), strict=True)
    ]
    found = verdicts(tmp_path, subjects, [CPU], plan=plan)["asyncio-cpu"]
    assert found.verdict == expected, found.evidence


@pytest.mark.parametrize(("asyncio", "expected"), [(4_000.0, "supported"), (7_500.0, "contradicted")])
def test_what_uvloop_is_said_to_be_worth_is_held_against_one_server_on_two_loops(
    tmp_path: Path, asyncio: float, expected: str
) -> None:
    uvloop = replace(BY_ID["uvicorn"], rates={"keep-alive": 10_000.0}, observed={"loop": "uvloop"})
    other = replace(
        BY_ID["uvicorn"],
        id="uvicorn-asyncio",
        variant="asyncio",
        rates={"keep-alive": asyncio},
        observed={"loop": "asyncio"},
    )
    found = verdicts(tmp_path, [uvloop, other], [KEEP_ALIVE], plan=STILL)["uvloop-twice"]
    assert found.verdict == expected, found.evidence
    assert "uvicorn on uvloop, uvicorn-asyncio on asyncio" in found.evidence


def test_a_withheld_side_of_a_ratio_leaves_it_undecided(tmp_path: Path) -> None:
    good, bad = (replace(truth, rates={"cpu": 1_000.0}) for truth in GRANIAN)
    found = verdicts(tmp_path, [good, replace(bad, errors={"cpu": {"body": 1}})], [CPU])["asyncio-cpu"]
    assert found.verdict == "undecided"
    assert "granian-asgi is withheld" in found.evidence


def test_what_the_application_costs_has_a_bound_and_no_verdict_without_a_bare_one(
    standard: dict[str, ClaimResult],
) -> None:
    found = standard["application-costs-little"]
    assert found.verdict == "undecided"
    assert "this run has no application bare to hold it against" in found.evidence
    assert "all that granian-asgi spends on a request: at most 12% of daphne's" in found.evidence


@pytest.mark.parametrize(("plain", "expected"), [(9_000.0, "supported"), (5_000.0, "contradicted")])
def test_beside_a_bare_application_the_plain_ones_cost_is_known(
    tmp_path: Path, plain: float, expected: str
) -> None:
    subjects = [
        replace(BY_ID["uvicorn"], rates={"keep-alive": plain}),
        replace(BY_ID["uvicorn"], id="uvicorn+bare", rates={"keep-alive": 10_000.0}),
    ]

    def bare(content: dict[str, Any]) -> None:
        content["subjects"][1]["app"] = "bare"

    found = verdicts(tmp_path, subjects, [KEEP_ALIVE], edit=bare)["application-costs-little"]
    assert found.verdict == expected
    assert "uvicorn (" in found.evidence


@pytest.mark.parametrize(
    ("pooled", "plan", "expected"),
    [
        (5_000.0, QUIET, "supported"),
        (12_000.0, QUIET, "contradicted"),
        (9_500.0, replace(QUIET, block_noise=0.1), "undecided"),
        (5_000.0, replace(QUIET, blocks=2), "undecided"),
    ],
)
def test_two_applications_are_compared_behind_each_server_that_ran_both(
    tmp_path: Path, pooled: float, plan: Plan, expected: str
) -> None:
    applications = {"fastapi": 10_000.0, "fastapi_def": pooled}
    names = [(server, application) for server in ("uvicorn", "hypercorn") for application in applications]
    subjects = [
        replace(BY_ID[server], id=f"{server}+{application}", rates={"keep-alive": applications[application]})
        for server, application in names
    ]

    def applied(content: dict[str, Any]) -> None:
        for subject, (_, application) in zip(content["subjects"], names, strict=True):
            subject["app"] = application

    found = verdicts(tmp_path, subjects, [KEEP_ALIVE], plan=plan, edit=applied)["fastapi-def"]
    assert found.verdict == expected, found.evidence
    assert "uvicorn+fastapi" in found.evidence
    assert "hypercorn+fastapi" in found.evidence


def test_a_shipped_claim_about_applications_that_a_run_has_not_is_not_in_its_report(
    tmp_path: Path, standard: dict[str, ClaimResult]
) -> None:
    assert not {"fastapi-def", "starlette-threads", "base-http-middleware", "django-sync-views"} & set(
        standard
    )
    own = tmp_path / "own.toml"
    own.write_text(
        'schema = 1\n[claims.mine]\ntext = "It is so."\nsource = "us"\n[claims.mine.conditions.one]\n'
        'kind = "application-ratio"\nleft = "flask"\nright = "django"\nworkload = "keep-alive"\n'
        "at_least = 1\n"
    )
    found = verdicts(tmp_path, GRANIAN, files=[own])["mine"]
    assert found.verdict == "undecided"
    assert "no server of this run ran both it and django" in found.evidence


def test_a_run_without_any_figure_supports_and_contradicts_nothing(tmp_path: Path) -> None:
    nowhere = [replace(truth, unavailable="no compiler") for truth in WAITING]
    found = verdicts(tmp_path, nowhere)
    assert {each.verdict for each in found.values()} == {"undecided"}


def test_a_run_of_one_block_decides_no_figure(tmp_path: Path) -> None:
    found = verdicts(tmp_path, plan=replace(QUIET, blocks=1), edit=threaded)
    assert found["wsgi-waiting-blocks"].verdict == "undecided"
    assert found["asgi-many-waiting"].verdict == "undecided"
    assert "3 blocks are needed, not 1" in found["asgi-many-waiting"].evidence


def test_withheld_figures_support_nothing_and_are_named(tmp_path: Path) -> None:
    wrong = [replace(truth, errors={"wait": {"body": 1}}) for truth in WAITING]
    found = verdicts(tmp_path, wrong)["asgi-many-waiting"]
    assert found.verdict == "undecided"
    assert "uvicorn" in found.evidence
    assert "withheld: wrong-body" in found.evidence


def test_a_twin_is_no_subject_of_a_claim(tmp_path: Path) -> None:
    subjects = [BY_ID["uvicorn"], replace(BY_ID["uvicorn"], id="uvicorn~again")]

    def tell(content: dict[str, Any]) -> None:
        content["subjects"][1]["twin_of"] = "uvicorn"

    found = verdicts(tmp_path, subjects, edit=tell)
    assert all("~again" not in each.evidence for each in found.values())


@pytest.mark.parametrize(
    ("scope", "answers", "expected"),
    [
        ("every", [True, True], True),
        ("every", [True, False, None], False),
        ("every", [True, None], None),
        ("some", [False, True, None], True),
        ("some", [False, None], None),
        ("some", [False, False], False),
        ("none", [False, False], True),
        ("none", [False, None], None),
        ("none", [False, True, None], False),
        ("every", [], None),
        ("some", [], None),
        ("none", [], None),
    ],
)
def test_what_cannot_be_told_decides_nothing_and_absence_supports_nothing(
    scope: Scope, answers: list[bool | None], expected: bool | None
) -> None:
    left_out = Observation("absent", None, "unsupported", counts=False)
    assert scoped(scope, [*(Observation("a", each, "") for each in answers), left_out]) is expected


@pytest.mark.parametrize(
    ("limit", "low", "high", "expected"),
    [
        (Limit(10, above=True), 8, 9, True),
        (Limit(10, above=True), 9, 10.2, True),
        (Limit(10, above=True), 9, 12, None),
        (Limit(10, above=True), 10.4, 12, False),
        (Limit(10, above=False), 11, 12, True),
        (Limit(10, above=False), 9.8, 12, True),
        (Limit(10, above=False), 9, 12, None),
        (Limit(10, above=False), 8, 9.6, False),
    ],
)
def test_an_interval_across_the_limit_decides_nothing(
    limit: Limit, low: float, high: float, expected: bool | None
) -> None:
    assert keeps(limit, low, high) is expected


@pytest.mark.parametrize(
    ("transport", "names", "capability", "shown"),
    [
        ("websocket", {"WS echo": [900, 0]}, "websocket", True),
        ("websocket", {"GET /json": [900, 0]}, "websocket", False),
        ("websocket", {"WS echo": [0, 900]}, "websocket", False),
        ("websocket", {}, "websocket", False),
        ("keep-alive", {"GET /json": [900, 0]}, "keep-alive", True),
        ("keep-alive", {}, "keep-alive", True),
        ("keep-alive", {"WS echo": [900, 0]}, "keep-alive", False),
        ("keep-alive", {"GET /json": [900, 0]}, "websocket", False),
        ("keep-alive", {"GET /json": [900, 0]}, "streaming", False),
    ],
)
def test_what_a_locust_file_shows_of_a_capability_its_counted_names_tell(
    transport: str, names: dict[str, list[int]], capability: str, shown: bool
) -> None:
    needs = frozenset({"websocket", "keep-alive", "streaming"})
    workload = WorkloadMeta(
        name="chat",
        description="",
        transport=transport,
        request=RequestMeta(),
        needs=needs,
        saturates=False,
        service_s=0.0,
        locustfile="locustfile.py",
    )
    details = Details(names={name: Named(*counts) for name, counts in names.items()})
    cell = CellResult("uvicorn", "uvicorn", "plain", "asgi", "chat", "users8", "ok", details=details)
    assert shows(capability, workload, cell) is shown


def test_requests_over_http_do_not_support_a_claim_about_websockets(tmp_path: Path) -> None:
    load = replace(VISIT, name="chat", transport="websocket", needs=("websocket",))
    subjects = [replace(BY_ID["uvicorn"], rates={"chat": 900.0})]
    own = tmp_path / "own.toml"
    own.write_text(
        'schema = 1\n[claims.fast]\ntext = "It is."\nsource = "us"\n[claims.fast.conditions.one]\n'
        'kind = "figure"\nmetric = "rps"\nworkload = "chat"\nof = "every"\nat_least = 100\n'
    )
    found = {}
    for name in ("GET /json", "WS echo"):
        folder = tmp_path / name.partition(" ")[0]
        run = make_run(folder, QUIET, subjects, [load])
        tell(run, "uvicorn", "chat", load.level.id, names={name: [9_000, 0]})
        raw = load_run(run)
        for claim in check(load_claims([own]), raw.meta, summarize(raw)):
            found[name, claim.id] = claim
    assert "measured under chat" not in found["GET /json", "asgi-websocket"].evidence
    assert "uvicorn (measured under chat)" in found["WS echo", "asgi-websocket"].evidence
    assert found["GET /json", "fast"].verdict == "undecided"
    assert "no messages over WebSockets" in found["GET /json", "fast"].evidence
    assert found["WS echo", "fast"].verdict == "supported"
    assert found["WS echo", "fast"].evidence.startswith("messages/s under chat")
