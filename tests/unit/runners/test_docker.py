"""What the docker runner says of a container's end."""

from __future__ import annotations

import signal

import pytest

from gatebench.runners.docker.runner import described_status


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "0"),
        (1, "1"),
        (126, "126 (a command cannot be executed)"),
        (127, "127 (a command was not found)"),
        (128, "128"),
        (128 + signal.SIGKILL, "137 (SIGKILL)"),
        (128 + signal.SIGSEGV, "139 (SIGSEGV)"),
        (255, "255"),
    ],
)
def test_an_exit_status_is_told_with_what_it_means(status: int, text: str) -> None:
    assert described_status(status) == text
