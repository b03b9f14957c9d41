"""Examples of failures, and what a Locust file did by name: kept bounded, read back, shown, and quoted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis.figures.refusals import refusals
from analysis.figures.results import CellResult, Summary
from analysis.figures.summary import summarize
from analysis.figures.summary_file import as_json, levels_of
from analysis.page.terminal import MOST_LINES, standings_table
from analysis.reading.run import load_run
from analysis.reading.tables import Details, EveryDetail, Named, read_details
from analysis.words import short_reason
from gatebench.results.columns import SliceRow
from gatebench.results.details import (
    MOST_EXAMPLES,
    MOST_NAMES,
    OTHER_NAMES,
    TEXT_CHARACTERS,
    request_of,
    visible,
)
from gatebench.results.record import Record
from gatebench.words.errors import GatebenchError
from gatebench.words.model import Cell
from tests.support.pages import make_page, tell
from tests.support.plans import CELLS
from tests.support.slices import HONEST, NO_ERRORS, PLAN, WORKLOAD, a_row
from tests.support.summaries import BY_ID, KEEP_ALIVE, QUIET, cell
from tests.support.synthetic import VISIT, make_run

LOGIN = "POST /auth/login: 404 Not Found"
OF_A_FILE = WORKLOAD.replaced(locustfile="locustfile.py")
SENT = request_of(CELLS[0].workload)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    """A new results folder, `run`, that is being written."""
    with closing(Record.create(tmp_path / "run")) as record:
        yield record


def told(record: Record) -> list[dict[str, Any]]:
    """The details that a run has written."""
    lines = (record.folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == "details"]


def row(number: int = 0, where: Cell = CELLS[0], block: int = 0, **more: Any) -> SliceRow:
    made = a_row(where, number, {100: 5})
    return replace(made, block=block, result=replace(made.result, **more))


def read(record: Record) -> EveryDetail:
    return read_details(told(record), record.folder / "events.jsonl")


def of(every: EveryDetail, where: Cell = CELLS[0]) -> Details:
    return every.of(where.subject.id, where.workload.name, where.level.id)


def table(summary: Summary) -> str:
    console = Console(width=400)
    with console.capture() as capture:
        for level in summary.levels:
            console.print(standings_table(level))
    return capture.get()


def failing(tmp_path: Path, *texts: str) -> Path:
    """A run in which the first of two subjects gets a wrong status now and then."""
    subjects = [replace(BY_ID["uvicorn"], errors={"keep-alive": {"status": 5}}), BY_ID["granian-asgi"]]
    folder = make_run(tmp_path / "run", QUIET, subjects, [KEEP_ALIVE])
    tell(folder, "uvicorn", "keep-alive", examples={"status": texts})
    return folder


def visited(tmp_path: Path, transport: str, names: dict[str, list[int]], **more: object) -> Summary:
    """The result of a Locust file that did this with a server."""
    load = replace(VISIT, transport=transport)
    folder = make_run(tmp_path / "run", QUIET, [replace(BY_ID["uvicorn"], rates={load.name: 130.0})], [load])
    tell(folder, "uvicorn", load.name, load.level.id, names=names, **more)
    return summarize(load_run(folder))


def test_the_first_failures_of_a_kind_are_written_with_the_request_that_met_them(record: Record) -> None:
    record.add(row(examples={"status": "status 503 instead of 200: b'busy'"}))
    record.flush()
    record.add(row(1, examples={"reset": "recv: Connection reset by peer"}))
    record.flush()

    assert [event["examples"] for event in told(record)] == [
        {"status": [f"{SENT}: status 503 instead of 200: b'busy'"]},
        {"reset": [f"{SENT}: recv: Connection reset by peer"]},
    ]
    assert SENT.partition(" ")[0] == "GET"


def test_a_locust_files_own_words_stand_as_they_are(record: Record, tmp_path: Path) -> None:
    workload = replace(CELLS[0].workload, locustfile=tmp_path / "locustfile.py")
    record.add(row(where=replace(CELLS[0], workload=workload), examples={"status": LOGIN}))
    record.flush()
    assert told(record)[0]["examples"] == {"status": [LOGIN]}


def test_alike_failures_are_kept_once_and_different_ones_up_to_a_few(record: Record) -> None:
    for number in range(10):
        record.add(row(number, examples={"body": f"ID {number} is wrong", "short": f"{'x' * number} ended"}))
        record.flush()
    found = of(read(record)).examples
    assert found["body"] == (f"{SENT}: ID 0 is wrong",)
    assert len(found["short"]) == MOST_EXAMPLES
    assert sum(len(event["examples"].get("short", ())) for event in told(record)) == MOST_EXAMPLES


def test_every_block_has_its_own_first_failures(record: Record) -> None:
    for block in range(2):
        record.add(row(block=block, examples={"status": "status 503"}))
    record.flush()
    every = read(record)
    where = CELLS[0].subject.id, CELLS[0].workload.name, CELLS[0].level.id
    assert every.of(*where, [1]).examples == every.of(*where, [0]).examples != {}
    assert every.of(*where, [2]) == Details()
    assert len(every.of(*where).examples["status"]) == 1


def test_what_was_counted_by_name_is_added_up_over_slices_and_flushes(record: Record) -> None:
    for number in range(4):
        record.add(row(number, names={"GET /json": [10, 1]}, uncounted={"WS echo: why": 2}))
        if number % 2:
            record.flush()
    found = of(read(record))
    assert found.names == {"GET /json": Named(40, 4)}
    assert found.uncounted == {"WS echo: why": 8}
    assert len(told(record)) == 2


def test_a_name_with_an_id_in_it_does_not_make_the_run_grow_without_end(record: Record) -> None:
    for number in range(3 * MOST_NAMES):
        record.add(row(number, names={f"GET /item/{number}": [1, 0]}))
    record.flush()
    found = of(read(record)).names
    assert len(found) == MOST_NAMES + 1
    assert found[OTHER_NAMES] == Named(2 * MOST_NAMES, 0)


def test_a_slice_without_failures_and_names_writes_no_event(record: Record) -> None:
    record.add(row())
    record.flush()
    assert told(record) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\u202egpj.exe\u2028", r"\u202egpj.exe\u2028"),
        ("\udcff", r"\udcff"),
        ("naïve — 日本", "naïve — 日本"),
    ],
)
def test_characters_that_do_not_show_become_escapes(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_long_text_is_cut() -> None:
    assert visible("x" * 10**6) == "x" * (TEXT_CHARACTERS - 1) + "…"
    assert len(visible("\x00" * 10**6)) == TEXT_CHARACTERS


def test_details_that_somebody_else_wrote_are_bounded_and_made_visible_when_they_are_read(
    tmp_path: Path,
) -> None:
    event = {"kind": "details", "block": 0, "subject": "a", "workload": "b", "level": "c"}
    texts = ["\x1b[31m" + "x" * 9_999] * 99
    event |= {"examples": {"status": texts, "odd": texts}, "names": {"\x1b": [1, 2]}, "uncounted": {}}
    found = read_details([event], tmp_path).of("a", "b", "c")
    assert [*found.examples] == ["status"]
    assert all(len(text) <= TEXT_CHARACTERS and "\x1b" not in text for text in found.examples["status"])
    assert found.names == {r"\x1b": Named(1, 2)}


@pytest.mark.parametrize(
    "wrong", [{"names": {"GET /": ["many", 1]}}, {"names": {"GET /": [1]}}, {"examples": [1]}, {"block": "x"}]
)
def test_details_of_another_form_are_damage_that_names_the_file(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    folder = make_run(tmp_path / "run", QUIET, [BY_ID["uvicorn"]], [KEEP_ALIVE])
    tell(folder, "uvicorn", "keep-alive", "c64", **wrong)
    with pytest.raises(GatebenchError, match=r"events\.jsonl: details of a cell are not what a run writes"):
        load_run(folder)


def test_the_reason_says_which_request_got_which_status_first_and_what_to_do(tmp_path: Path) -> None:
    (reason, *_) = cell(summarize(load_run(failing(tmp_path, LOGIN, "GET /x: 500"))), "uvicorn").reasons
    assert f"250 status); allowed are 0.01% and no timeout. First status: {LOGIN}. " in reason
    assert "backlog" not in reason


def test_the_file_form_has_the_examples_of_each_cell_and_an_old_run_has_none(tmp_path: Path) -> None:
    folder = failing(tmp_path, LOGIN)
    rows = {each["subject"]: each for each in as_json(summarize(load_run(folder)))["cells"]}
    assert rows["uvicorn"]["examples"] == {"status": [LOGIN]}
    assert rows["granian-asgi"]["examples"] == {}
    assert rows["uvicorn"]["names"] == rows["uvicorn"]["uncounted"] == {}
    events = (folder / "events.jsonl").read_text().splitlines()[:-1]
    (folder / "events.jsonl").write_text("\n".join(events) + "\n")
    old = {each["subject"]: each for each in as_json(summarize(load_run(folder)))["cells"]}
    assert old["uvicorn"]["examples"] == {}
    assert "First status" not in old["uvicorn"]["reasons"][0]


def test_the_terminal_shows_the_first_failures_below_the_reason(tmp_path: Path) -> None:
    said = table(summarize(load_run(failing(tmp_path, LOGIN))))
    assert f"limited: some of its requests failed (errors): uvicorn\n    status: {LOGIN} [uvicorn]\n" in said


def test_the_page_shows_the_first_failures_beside_the_reason(tmp_path: Path) -> None:
    html = make_page(failing(tmp_path, "POST /<login>: 404")).read_text()
    apart = html[html.index('<h2 id="apart"') :]
    assert "<li>status: <code>POST /&lt;login&gt;: 404</code></li>" in apart
    assert "/<login>" not in html


def test_of_very_many_failures_the_terminal_shows_some_and_says_how_many_more(tmp_path: Path) -> None:
    load = replace(VISIT, transport="websocket")
    left = {f"GET /{number}: why": number + 1 for number in range(MOST_LINES + 4)}
    said = table(visited(tmp_path, load.transport, {"WS echo": [5, 0]}, uncounted=left))
    assert said.count("not counted: GET /") == MOST_LINES
    assert "4 more that was not counted; the report has them" in said


@pytest.mark.parametrize(
    ("transport", "names", "unit"),
    [
        ("websocket", {"WS echo": [100, 2], "wss /feed": [5, 0]}, "messages/s"),
        ("websocket", {"GET /json": [100, 0]}, "requests/s"),
        ("websocket", {"WS echo": [0, 100]}, "requests/s"),
        ("websocket", {}, "requests/s"),
        ("keep-alive", {"GET /json": [100, 0]}, "requests/s"),
        ("keep-alive", {"WS echo": [100, 0]}, "requests/s"),
    ],
)
def test_a_locust_files_unit_is_what_was_counted(
    tmp_path: Path, transport: str, names: dict[str, list[int]], unit: str
) -> None:
    summary = visited(tmp_path, transport, names)
    assert summary.levels[0].metric.unit == unit
    assert "echoes" not in table(summary)
    (read_back,) = levels_of(as_json(summary), load_run(tmp_path / "run").meta)
    assert read_back.metric == summary.levels[0].metric


def test_what_was_counted_by_name_and_what_was_not_are_in_summary_terminal_and_page(tmp_path: Path) -> None:
    summary = visited(
        tmp_path, "websocket", {"WS echo": [100, 2]}, uncounted={"GET /json: an HTTP request": 7}
    )
    (found,) = as_json(summary)["cells"]
    assert found["names"] == {"WS echo": {"answers": 100, "failures": 2}}
    assert found["uncounted"] == {"GET /json: an HTTP request": 7}
    assert "not counted: GET /json: an HTTP request [uvicorn (7 times)]" in table(summary)
    html = make_page(tmp_path / "run").read_text()
    named = html[html.index('<table class="data names">') :].split("</table>")[0]
    assert '<td class="name">WS echo</td><td>100</td><td>2</td><td>—</td>' in named
    assert '<td class="name">GET /json: an HTTP request</td><td>—</td><td>—</td><td>7</td>' in named


@pytest.mark.parametrize(
    ("errors", "says", "not_says"),
    [
        ({"refused": 90, "reset": 9}, ("longer backlog",), ("routes",)),
        ({"status": 99}, ("routes of the application",), ("backlog",)),
        ({"timeout": 1}, ("wait for",), ("backlog", "routes")),
        ({"short": 99}, ("in the midst of an answer",), ("backlog", "routes")),
        ({"status": 99, "timeout": 1}, ("routes of the application", "wait for"), ("backlog",)),
    ],
)
def test_the_next_step_fits_the_kind_of_failure(
    errors: dict[str, int], says: tuple[str, ...], not_says: tuple[str, ...]
) -> None:
    (refusal,) = refusals(replace(HONEST, errors={**NO_ERRORS, **errors}), OF_A_FILE, PLAN, 1)
    assert all(words in refusal.reason for words in says)
    assert not any(words in refusal.reason for words in not_says)


def test_a_check_of_a_locust_file_is_not_taken_for_the_contract() -> None:
    details = Details(examples={"body": ("GET /: AssertionError in page, line 7",)})
    bad = replace(HONEST, errors={**NO_ERRORS, "body": 3})
    (own,) = refusals(bad, OF_A_FILE, PLAN, 1, None, details)
    assert "did not pass the Locust file's own checks" in own.text
    assert "First body: GET /: AssertionError in page, line 7." in own.text
    assert "gatebench verify" not in own.reason
    (ours,) = refusals(bad, WORKLOAD, PLAN, 1)
    assert "gatebench verify" in ours.reason


def test_a_failed_cells_reason_is_shown_whole_in_the_terminal() -> None:
    text = f"/a/long/path/to/some/folder/of/workloads/locustfile.py: {LOGIN}; then the file ended the test"
    failed = CellResult("u", "u", "plain", "asgi", "w", "c1", "failed", (f"load: block 1: {text}",))
    assert short_reason(failed, TEXT_CHARACTERS).endswith("then the file ended the test")
    assert len(short_reason(failed)) <= 76


def step_of(code: str, **more: Any) -> tuple[str, str]:
    """Text and next step of a gate that this Locust file, or this workload, fails."""
    workload = more.pop("workload").replaced(**more.pop("meta", {}))
    found = {each.gate.code: each for each in refusals(replace(HONEST, **more), workload, PLAN, 1)}
    return found[code].text, found[code].reason.removeprefix(f"{code}: {found[code].text} ")


def test_a_locust_file_that_keeps_locust_busy_is_not_told_to_use_more_engines() -> None:
    assert "fewer users" in step_of("generator-busy", workload=OF_A_FILE, busy_share=0.99)[1]
    assert "--engines" in step_of("generator-busy", workload=WORKLOAD, busy_share=0.99)[1]
    assert "--engines" not in step_of("generator-busy", workload=OF_A_FILE, busy_share=0.99)[1]


def test_a_locust_file_whose_pauses_leave_a_server_idle_is_told_so() -> None:
    assert "saturates = false" in step_of("server-idle", workload=OF_A_FILE, cpu_share=0.1)[1]
    assert "more connections" in step_of("server-idle", workload=WORKLOAD, cpu_share=0.1)[1]


def test_only_a_server_that_declares_keep_alive_is_told_that_it_does() -> None:
    text, step = step_of("reuse", workload=WORKLOAD, closed_by_server=100_000)
    assert "although it declares keep-alive" in text
    assert "do not declare it in server.toml" in step
    text, step = step_of("reuse", workload=OF_A_FILE, meta={"needs": frozenset()}, closed_by_server=100_000)
    assert "declares" not in text
    assert 'needs = ["keep-alive"]' in step
    text, step = step_of(
        "reuse", workload=WORKLOAD, meta={"transport": "websocket"}, closed_by_server=100_000
    )
    assert "keep-alive" not in text + step
    assert "why it closes WebSockets" in step
