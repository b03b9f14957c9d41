"""The option `--precision`: from what a person typed to what a run asks for, and what its report found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from gatebench.registry.registry import matches
from gatebench.words.errors import ConfigurationError, GatebenchError
from gatebench.words.plan import PROFILES, Profile
from gatebench.words.precision import Found, Precision, parse_share, words_of
from gatebench.words.text import listed, near

OPTION = "--precision"


def choose_share(text: str) -> float:
    """The percentage at the beginning of the option's value, as a share.

    Raises:
        ConfigurationError: it is none, or one that no run can reach.
    """
    try:
        return parse_share(words_of(text)[0])
    except ValueError as error:
        raise ConfigurationError(f"{OPTION}: {error}") from error


def tell_of_blocks(profile: Profile) -> str:
    """That a run which ends once it is precise has other blocks than its profile's; empty where not."""
    usual = PROFILES[profile.name].blocks
    if profile.blocks == usual:
        return ""
    return (
        f"{OPTION}: up to {profile.blocks} shorter blocks instead of the {usual} of profile {profile.name}, "
        f"within {profile.budget_s:.0f} s (--budget)"
    )


def choose_precision(text: str | None, subjects: Sequence[str], workloads: Sequence[str]) -> Precision | None:
    """What the option asks for; None where it was not given.

    A name after the percentage is that of a workload, a server or a subject, or a glob over them.

    Args:
        text: the option's value.
        subjects: IDs of those that the run measures.
        workloads: names of those that it measures them under.

    Raises:
        ConfigurationError: with every problem: of the percentage, and of each name that the run does not
            measure; or there are no two subjects whose ratio could be so precise.
    """
    if text is None:
        return None
    problems: list[str] = []
    share = 0.0
    try:
        share = choose_share(text)
    except ConfigurationError as error:
        problems += error.problems
    in_subjects: set[str] = set()
    in_workloads: set[str] = set()
    for name in words_of(text)[1]:
        of_workloads = matches(name, tuple(workloads), whole_servers=False)
        of_subjects = set() if of_workloads else matches(name, tuple(subjects), whole_servers=True)
        if not of_workloads and not of_subjects:
            known = [*workloads, *subjects]
            problems.append(
                f'{OPTION}: the run measures no workload and no server "{name}"{near(name, known)}; '
                f"it measures: {listed(known)}"
            )
        in_workloads |= of_workloads
        in_subjects |= of_subjects
    wanted = tuple(each for each in subjects if each in in_subjects)
    if len(wanted or subjects) < 2 and not problems:
        problems.append(
            f"{OPTION}: it is asked of the ratio of two servers, and {listed(wanted or subjects)} is one; "
            "name another, or leave the option out"
        )
    if problems:
        raise ConfigurationError(problems)
    return Precision(share, wanted, tuple(each for each in workloads if each in in_workloads))


def found_in(folder: Path) -> Found:
    """What the report of the run in `folder` says of its precision.

    Raises:
        GatebenchError: its summary cannot be read.
    """
    file = folder / "summary.json"
    try:
        return Found.from_json(json.loads(file.read_text(encoding="utf-8"))["precision"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GatebenchError(f"{file}: cannot be read ({error!r})") from error
