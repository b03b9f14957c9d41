"""The option `--precision`: what it may say, and what is refused with the next step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatebench.cli.precision import choose_precision, found_in, tell_of_blocks
from gatebench.cli.run import choose_profile
from gatebench.words.errors import ConfigurationError, GatebenchError
from gatebench.words.plan import PROFILES
from gatebench.words.precision import Found, Precision

SUBJECTS = ("gunicorn-sync", "gunicorn-gthread", "uvicorn", "granian-asgi")
WORKLOADS = ("keep-alive", "close")


def test_a_run_without_the_option_asks_for_none() -> None:
    assert choose_precision(None, SUBJECTS, WORKLOADS) is None
    assert choose_profile("standard", "5m", None).blocks == PROFILES["standard"].blocks


def test_a_percentage_alone_is_asked_of_everything() -> None:
    assert choose_precision("3%", SUBJECTS, WORKLOADS) == Precision(0.03)


def test_names_may_be_workloads_servers_subjects_and_globs() -> None:
    asked = choose_precision("3 % close gunicorn granian-*", SUBJECTS, WORKLOADS)
    assert asked == Precision(0.03, ("gunicorn-sync", "gunicorn-gthread", "granian-asgi"), ("close",))


def test_every_problem_is_told_at_once_with_the_near_name() -> None:
    with pytest.raises(ConfigurationError) as refused:
        choose_precision("0% uvicron kep-alive", SUBJECTS, WORKLOADS)
    share, server, workload = refused.value.problems
    assert '"0%" is not between' in share
    assert 'no server "uvicron" (did you mean "uvicorn"?)' in server
    assert 'no workload and no server "kep-alive" (did you mean "keep-alive"?)' in workload


@pytest.mark.parametrize(("text", "subjects"), [("3%", ["uvicorn"]), ("3% uvicorn", SUBJECTS)])
def test_one_server_has_no_ratio(text: str, subjects: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="asked of the ratio of two servers, and uvicorn is one"):
        choose_precision(text, subjects, WORKLOADS)


@pytest.mark.parametrize("text", ["", "three", "0%", "-1%", "60%"])
def test_a_bad_percentage_is_found_with_the_profile_before_anything_is_started(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--precision: "):
        choose_profile("standard", None, text)


def test_that_there_are_other_blocks_than_the_profiles_is_said_before_they_begin() -> None:
    assert tell_of_blocks(choose_profile("smoke", None)) == ""
    said = tell_of_blocks(choose_profile("smoke", None, "3%"))
    assert said == (
        "--precision: up to 10 shorter blocks instead of the 1 of profile smoke, within 60 s (--budget)"
    )


def test_what_the_report_found_is_read_from_its_summary(tmp_path: Path) -> None:
    found = Found(
        "3%", 5, 0.02, met=True, pairs=1, widest="w", needed_blocks=5, without=("a/b",), text="±2 %"
    )
    (tmp_path / "summary.json").write_text(json.dumps({"precision": found.to_json()}))
    assert found_in(tmp_path) == found


@pytest.mark.parametrize("text", [None, "{", "{}", '{"precision": {}}', '{"precision": 3}'])
def test_a_summary_without_it_is_an_error_that_names_the_file(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "summary.json").write_text(text)
    with pytest.raises(GatebenchError, match=r"summary\.json: cannot be read"):
        found_in(tmp_path)
