"""What the database holds and what is answered from it follow from the keys alone."""

from __future__ import annotations

import json

from apps.plain import stored
from gatebench.contract import tables
from gatebench.contract.file import load_contract

CONTRACT = load_contract()


def test_no_two_rows_have_the_same_value() -> None:
    values = {tables.value_of(key) for key in range(1, tables.ROWS + 1)}
    assert len(values) == tables.ROWS


def test_the_twenty_rows_of_a_request_differ_and_are_in_the_table() -> None:
    for first in (1, 9_990, tables.ROWS):
        keys = tables.keys_of(first)
        assert keys[0] == first
        assert len(set(keys)) == len(keys) == tables.COUNT
        assert all(1 <= key <= tables.ROWS for key in keys)


def test_the_contract_answers_as_the_tables_have_it() -> None:
    assert CONTRACT.expect("GET", "/db/row/2").body == b'{"id":2,"value":5831}'
    rows = json.loads(CONTRACT.expect("GET", "/db/rows/9990").body)
    assert [row["id"] for row in rows] == list(tables.keys_of(9_990))
    assert CONTRACT.expect("POST", "/db/update/123456").body == b'{"id":57,"value":123456}'
    assert CONTRACT.answer("GET", "/db/row/10001").status == 400


def test_the_page_of_fortunes_is_sorted_escaped_and_has_one_more_than_the_table() -> None:
    page = CONTRACT.expect("GET", "/db/fortunes").body.decode()
    assert page.count("<tr>") == len(tables.FORTUNES) + 2
    assert page.index("&lt;b&gt;Bold&lt;/b&gt;") < page.index("A benchmark") < page.index("If p99 &lt; p50")
    assert not any("'" in message or '"' in message for message in tables.FORTUNES)


def test_what_the_applications_reckon_with_is_what_the_contract_does() -> None:
    assert (stored.ROWS, stored.COUNT, stored.STEP) == (tables.ROWS, tables.COUNT, tables.STEP)
    assert (stored.COUNTERS, stored.ADDED) == (tables.COUNTERS, tables.ADDED)
    assert stored.keys(9_990) == list(tables.keys_of(9_990))
    assert stored.counter(123_456) == tables.counter_of(123_456)
    assert stored.to_json(stored.entry(2, 5831)) == tables.row(2)
