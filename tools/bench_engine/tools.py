"""Runs one client to its end on one core: what it printed, and the CPU time that it took."""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tools.bench_engine.outputs import failed

GRACE_S = 30.0
"""A client that has not ended this long after its time never will: h2load, for one, waits for ever for
connections that the server has closed."""

SEARCHED = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
"""nginx lives where only root's PATH leads."""

PACKAGES = {
    "wrk": "sudo apt-get install wrk",
    "h2load": "sudo apt-get install nghttp2-client",
    "ab": "sudo apt-get install apache2-utils",
    "nginx": "sudo apt-get install nginx-light",
    "picows": "make .venv/.dev",
}
"""What the benchmark drives or is driven by, and how to install it (Debian)."""


ASK_VERSION = {"wrk": "-v", "h2load": "--version", "ab": "-V", "nginx": "-v"}


@dataclass(frozen=True, slots=True)
class Ended:
    """A client that has ended: all that it printed, and its user and system time."""

    output: str
    cpu_s: float


def find(tool: str) -> str | None:
    """The path of a command, or None where it is not installed."""
    return shutil.which(tool, path=SEARCHED)


def missing(tool: str) -> str:
    """The line about what is left out."""
    return f"{tool} is missing, so it is left out: {PACKAGES[tool]}"


def version(tool: str) -> str | None:
    """What a tool calls its version, or None where it is not installed."""
    if tool not in ASK_VERSION:
        return metadata.version(tool) if importlib.util.find_spec(tool) else None
    path = find(tool)
    if path is None:
        return None
    # wrk says its version and then fails for want of an address.
    said = subprocess.run(
        [path, ASK_VERSION[tool]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    ).stdout
    return said.partition("\n")[0]


def processor() -> str:
    """The CPU's model, as Linux names it; empty where it does not."""
    match = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else ""


def run_client(
    who: str,
    command: Sequence[str],
    *,
    core: int,
    seconds: float,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Runs a command on one core until it ends.

    Raises:
        BenchmarkError: it ended with another status than 0, or not within `seconds` and a grace.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        ended = subprocess.run(
            ["taskset", "--cpu-list", str(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **(environment or {})},
            timeout=seconds + GRACE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"").decode(errors="replace")
        raise failed(who, f"it did not end in {seconds + GRACE_S:g} s", said) from error
    if ended.returncode:
        raise failed(who, f"it ended with status {ended.returncode}", ended.stdout)
    # Nothing else of this process's children ends meanwhile, so the difference is the client's.
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Ended(ended.stdout, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
