"""When a run stops to tell what it has measured so far."""

from __future__ import annotations

import pytest

from gatebench.run.reporter import is_due


@pytest.mark.parametrize(
    ("since_s", "awaited_s", "due"),
    [(29.0, 0.0, False), (31.0, 0.0, True), (78.0, 1.9, True), (78.0, 4.0, False), (161.0, 4.0, True)],
)
def test_a_report_is_made_where_there_is_something_to_show_and_waiting_for_it_costs_little(
    since_s: float, awaited_s: float, *, due: bool
) -> None:
    assert is_due(since_s, awaited_s) is due
