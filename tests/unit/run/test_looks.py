"""When a run that asked for a precision looks, and when it ends for what it sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatebench.results.record import Record
from gatebench.run.looks import FORECAST_FROM_S, LOOK_SHARE, Looks, has_met
from gatebench.words.errors import GatebenchError
from gatebench.words.precision import FIRST_LOOK, Found, Precision
from tests.support.lab import Results

ASKED = Precision(0.03)
WIDE = Found(
    "3%", 5, 0.06, met=False, pairs=1, widest="w", needed_blocks=15, without=(), text="±6 % (k/c64: a / b)"
)
NARROW = replace(WIDE, reached=0.02, met=True, needed_blocks=5, text="±2 % (k/c64: a / b)")


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    with closing(Record.create(tmp_path / "run")) as record:
        yield record


def looks(record: Record, found: Found, said: list[str], before: int = 0) -> Looks:
    return Looks(ASKED, lambda _folder: found, before, record, said.append)


def at(looks: Looks, blocks: int) -> bool:
    return looks.look(blocks, block=blocks - 1, block_s=60.0, left=5)


def test_it_looks_only_after_the_numbers_of_blocks_that_were_fixed(record: Record) -> None:
    found = looks(record, WIDE, [])
    due = []
    for blocks in range(1, 15):
        if found.is_due(blocks, now_s=1_000.0):
            due.append(blocks)
            at(found, blocks)
    assert due == [3, 5, 7, 10, 14]


def test_a_short_run_does_not_look_before_it_could_end(record: Record) -> None:
    found = looks(record, WIDE, [])
    assert not found.is_due(3, FORECAST_FROM_S - 1)
    assert found.is_due(3, FORECAST_FROM_S)
    assert found.is_due(5, 20.0)


def test_a_look_is_put_off_until_the_last_one_is_a_small_share_of_the_time(record: Record) -> None:
    found = looks(record, WIDE, [])
    at(found, 5)
    found.paid(100.0, took_s=3.0)
    assert not found.is_due(7, 99.0 + 3.0 / LOOK_SHARE)
    assert found.is_due(9, 101.0 + 3.0 / LOOK_SHARE)  # still due two blocks later


def test_a_run_that_went_on_does_not_look_again_where_it_was(record: Record) -> None:
    assert not looks(record, WIDE, [], before=5).is_due(6, 1_000.0)
    assert looks(record, WIDE, [], before=5).is_due(7, 1_000.0)


def test_a_run_ends_where_it_is_precise_enough_and_says_and_records_why(record: Record) -> None:
    said: list[str] = []
    assert at(looks(record, NARROW, said), 5)
    assert said == ["precision after 5 blocks: ±2 % (k/c64: a / b); ±3 % was asked for, so the run ends here"]
    (event,) = Results(record.folder).events
    assert (event["kind"], event["block"], event["blocks"], event["met"]) == ("look", 4, 5, True)
    assert (event["asked"], event["reached"]) == ("3%", 0.02)


def test_a_run_never_ends_before_the_first_look_however_narrow_its_intervals_are(record: Record) -> None:
    assert not at(looks(record, NARROW, []), FIRST_LOOK - 1)
    assert [event["met"] for event in Results(record.folder).events] == [False]


def test_a_run_that_is_not_precise_enough_goes_on_and_says_what_it_takes(record: Record) -> None:
    said: list[str] = []
    assert not at(looks(record, WIDE, said), 5)
    assert "takes about 10 blocks more" in said[0]
    assert [event["met"] for event in Results(record.folder).events] == [False]


def test_a_report_that_cannot_be_read_ends_nothing(record: Record) -> None:
    said: list[str] = []

    def read(folder: Path) -> Found:
        raise GatebenchError(f"{folder.name}/summary.json: cannot be read")

    assert not at(Looks(ASKED, read, 0, record, said.append), 5)
    assert said == ["the precision so far is not known: run/summary.json: cannot be read"]
    assert Results(record.folder).events == []


def event(**changes: Any) -> dict[str, Any]:
    return {"kind": "look", "blocks": 5, "asked": "3%", "reached": 0.028, "met": True, **changes}


@pytest.mark.parametrize(
    ("events", "asked", "met"),
    [
        ([], ASKED, False),
        ([event()], ASKED, True),
        ([event()], Precision(0.02), False),  # it goes on to a finer one
        ([event(reached=0.045, met=False)], Precision(0.05), True),
        ([event(), event(reached=0.05)], ASKED, False),
        ([event(blocks=3)], ASKED, False),
        ([event(reached=None)], ASKED, False),
        ([event()], Precision(0.03, ("a", "b")), False),  # of which it was not asked
        ([event(asked="3% a b")], Precision(0.03, ("a", "b")), True),
    ],
)
def test_a_run_lacks_nothing_where_its_last_look_met_what_is_asked_now(
    events: list[dict[str, Any]], asked: Precision, *, met: bool
) -> None:
    assert has_met(events, asked) is met
