"""The options of a user's own Locust files, as `--locust-option NAME=VALUE` sets them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gatebench.words.errors import ConfigurationError
from gatebench.words.model import Workload
from gatebench.words.paths import ROOT
from gatebench.words.text import listed, near

ASK_S = 60.0


def with_locust_options(
    workloads: Sequence[Workload], given: Sequence[str], load_workers: int = 0
) -> tuple[Workload, ...]:
    """The workloads, each with those of the options that its Locust file defines.

    Every Locust file is read as the run will read it, so that a fault of it is told before anything starts.

    Args:
        workloads: the chosen ones.
        given: `NAME=VALUE` each; the last of a name holds.
        load_workers: the Locust workers that share the users; 0 for none.

    Raises:
        ConfigurationError: a Locust file cannot be used, an option has no value or a wrong one, or no chosen
            Locust file has such an option.
    """
    problems = [f"--locust-option: {each!r} is not NAME=VALUE" for each in given if not _parts(each)[1]]
    options = {name: value for name, separator, value in map(_parts, given) if separator}
    users = users_of(workloads, load_workers)
    if not users:
        if given:
            problems.append("--locust-option: no chosen workload has a Locust file; name one (--workloads)")
        if problems:
            raise ConfigurationError(problems)
        return tuple(workloads)
    known, faults = read_files(users, options)
    every = sorted({name for names in known.values() for name in names})
    problems += [
        f"--locust-option: no chosen Locust file has an option {name!r}{near(name, every)}; "
        f"their own options are: {listed(every)}"
        for name in options
        if name not in every and not faults
    ]
    if problems or faults:
        raise ConfigurationError([*problems, *faults])
    return tuple(
        replace(each, options={name: options[name] for name in options if name in known[each.locustfile]})
        if each.locustfile is not None
        else each
        for each in workloads
    )


def users_of(workloads: Sequence[Workload], load_workers: int) -> dict[Path, list[int]]:
    """Locust file → how many users one process is asked for, of each level of each workload that uses it."""
    found: dict[Path, list[int]] = {}
    for workload in workloads:
        if workload.locustfile is not None:
            shares = (math.ceil(level.connections / max(1, load_workers)) for level in workload.levels)
            found.setdefault(workload.locustfile, []).extend(shares)
    return found


def read_files(
    users: Mapping[Path, Sequence[int]], options: Mapping[str, str]
) -> tuple[Mapping[Path, frozenset[str]], list[str]]:
    """Runs Locust files in a process of its own, as Locust would.

    Args:
        users: Locust file → the numbers of users to try.
        options: name → value, of any of the files.

    Returns:
        Locust file → the names of its own options; and what is wrong with the files or the values.
    """
    question = [
        {"file": str(file), "options": dict(options), "users": sorted(set(counts))}
        for file, counts in users.items()
    ]
    names = listed(map(str, users))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "loadtests.scenarios"],
            input=json.dumps(question),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=ASK_S,
            check=False,
        )
        answer = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {}, [f"{names}: did not load within {ASK_S:.0f} s; a Locust file must not block"]
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return {}, [f"{names}: the process that reads it ended: {last}"]
    return {Path(file): frozenset(own) for file, own in answer["options"].items()}, answer["problems"]


def _parts(given: str) -> tuple[str, str, str]:
    name, separator, value = given.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    return name, separator if name else "", value
