"""The options of a user's own Locust files, as `--locust-option NAME=VALUE` sets them."""

from __future__ import annotations

import json
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


def with_locust_options(workloads: Sequence[Workload], given: Sequence[str]) -> tuple[Workload, ...]:
    """The workloads, each with those of the options that its Locust file defines.

    Args:
        workloads: the chosen ones.
        given: `NAME=VALUE` each; the last of a name holds.

    Raises:
        ConfigurationError: one has no value, or no chosen Locust file has such an option.
    """
    if not given:
        return tuple(workloads)
    problems = [f"--locust-option: {each!r} is not NAME=VALUE" for each in given if not _parts(each)[1]]
    options = {name: value for name, separator, value in map(_parts, given) if separator}
    files = [each.locustfile for each in workloads if each.locustfile is not None]
    if not files:
        raise ConfigurationError(
            [*problems, "--locust-option: no chosen workload has a Locust file; name one (--workloads)"]
        )
    known = own_options(files)
    every = sorted({name for names in known.values() for name in names})
    problems += [
        f"--locust-option: no chosen Locust file has an option {name!r}{near(name, every)}; "
        f"their own options are: {listed(every)}"
        for name in options
        if name not in every
    ]
    if problems:
        raise ConfigurationError(problems)
    return tuple(
        replace(each, options={name: options[name] for name in options if name in known[each.locustfile]})
        if each.locustfile is not None
        else each
        for each in workloads
    )


def own_options(files: Sequence[Path]) -> Mapping[Path, frozenset[str]]:
    """Locust file → the names of its own options. A process of its own runs the files, as Locust would.

    Raises:
        ConfigurationError: a file cannot be loaded.
    """
    command = [sys.executable, "-m", "loadtests.scenarios", *map(str, files)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=ASK_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(
            f"{listed(map(str, files))}: did not load within {ASK_S:.0f} s; a Locust file must not block"
        ) from error
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ConfigurationError(f"{listed(map(str, files))}: the options cannot be read: {last}") from error
    if "error" in answer:
        raise ConfigurationError(str(answer["error"]).splitlines())
    return {Path(file): frozenset(names) for file, names in answer["options"].items()}


def _parts(given: str) -> tuple[str, str, str]:
    name, separator, value = given.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    return name, separator if name else "", value
