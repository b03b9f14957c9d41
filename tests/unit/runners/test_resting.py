"""Whether servers of several workers have come to rest, from their CPU time."""

from __future__ import annotations

import pytest

from gatebench.runners.readiness import at_rest, await_rest


@pytest.mark.parametrize(
    ("before_s", "after_s", "rests"),
    [
        (1.0, 1.0, True),
        (1.0, 1.005, True),
        (1.0, 1.02, False),
        (1.0, 0.9, False),  # a process ended
        (1.0, None, False),
        (None, 1.0, False),
    ],
)
def test_a_server_rests_that_uses_next_to_no_cpu_time(
    before_s: float | None, after_s: float | None, *, rests: bool
) -> None:
    assert at_rest(before_s, after_s, 0.3) is rests


def test_nobody_waits_for_no_servers() -> None:
    assert await_rest([]) == []
