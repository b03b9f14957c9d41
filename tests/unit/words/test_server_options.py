"""What every server gets, as asked for: numbers that can be, and all that cannot at once."""

from __future__ import annotations

import pytest

from gatebench.words.errors import ConfigurationError
from gatebench.words.options import DEFAULT, Budget, ServerOptions, choose_server_options


def test_by_default_a_server_has_one_core_one_worker_and_four_threads() -> None:
    assert choose_server_options() == DEFAULT == ServerOptions(cores=1, workers=1, threads=4)


def test_a_server_has_as_many_workers_as_cores_where_nobody_says() -> None:
    assert choose_server_options(2) == ServerOptions(cores=2, workers=2)
    assert choose_server_options(2, 1, 8) == ServerOptions(cores=2, workers=1, threads=8)


def test_a_budget_is_what_was_asked_for_on_the_cores_that_were_found() -> None:
    assert choose_server_options(2, 4, 3).budget((5, 7)) == Budget((5, 7), workers=4, threads=3)


def test_up_to_four_workers_may_share_a_core() -> None:
    assert choose_server_options(2, 8).workers == 8
    with pytest.raises(ConfigurationError, match=r"--workers: 9 worker processes on 2 cores; over 4 a core"):
        choose_server_options(2, 9)


def test_numbers_under_one_are_told_all_at_once_by_their_options() -> None:
    with pytest.raises(ConfigurationError) as raised:
        choose_server_options(0, -1, 0)
    assert raised.value.problems == (
        "--server-cores: 0 is under 1",
        "--workers: -1 is under 1",
        "--threads: 0 is under 1",
    )
