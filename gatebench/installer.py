"""Runs uv to make one virtual environment, and turns its failures into what is wrong and what to do next."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from uv import find_uv_bin

from gatebench.model import Server
from gatebench.processes import OWNER_VARIABLE, Owner

LAST_LINES = 8
PIN = (
    *("pip", "compile", "--quiet", "--upgrade", "--universal", "--python-version", "3.11"),
    *("--generate-hashes", "--no-emit-index-url", "--no-header"),
)
"""uv's arguments for pinning, the same as in `requirements/lock.sh`."""

_FROM_PIP: Mapping[str, str] = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_NO_INDEX": "UV_NO_INDEX",
    "PIP_CERT": "SSL_CERT_FILE",
}
"""Settings of pip that say where packages come from, and uv's names for them."""
_KEPT = (
    "UV_CACHE_DIR",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_HTTP_RETRIES",
    "UV_HTTP_TIMEOUT",
    "UV_INSECURE_HOST",
    "UV_KEYRING_PROVIDER",
    "UV_NATIVE_TLS",
    "UV_NO_INDEX",
    "UV_OFFLINE",
    "UV_SYSTEM_CERTS",
)
"""uv's settings of where packages come from; with hashes they cannot change what is installed."""
_PATIENCE: Mapping[str, str] = {"UV_HTTP_TIMEOUT": "15", "UV_HTTP_RETRIES": "2"}
"""uv's own 30 s and 3 retries for each file would leave a run without network silent for minutes."""
_NEXT_STEPS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("no space left on device", "os error 28", "disk quota exceeded"),
        "the disk is full: free some space (`uv cache prune` helps), then run it again",
    ),
    (
        ("hash mismatch",),
        "a package is not the one that was pinned: try `uv cache clean`, then another package index",
    ),
    (
        ("failed to fetch", "error sending request", "dns error", "connection refused", "timed out"),
        "the package index cannot be reached: check the network, or name a mirror in UV_DEFAULT_INDEX",
    ),
    (
        ("network was disabled", "not found in the cache", "connectivity is disabled"),
        "uv is offline (UV_OFFLINE) and its cache lacks a package: run it once with the network",
    ),
    (
        ("failed to build",),
        "the package has to be compiled here and that failed: its output below names what is missing",
    ),
)


class InstallError(Exception):
    """Installing failed; its text says why and what to do next, with the last lines of uv's output."""


def install(server: Server, folder: Path) -> None:
    """Makes the environment of a server at `folder`, where nothing is yet.

    Args:
        server: its requirements are installed; where they are pinned, each must match its hash.
        folder: where the environment stays, since its scripts hold its path.

    Raises:
        InstallError: uv failed.
    """
    uv = find_uv_bin()
    variables = uv_variables(os.environ)
    python = folder / "bin" / "python"
    pinned = ("--require-hashes",) if server.pinned else ()
    _run((uv, "venv", "--python", sys.executable, str(folder)), server.folder, variables)
    _run(
        (uv, "pip", "install", "--python", str(python), *pinned, "--requirements", str(server.requirements)),
        server.folder,
        variables,
    )


def pin(folder: Path, loose: str, pinned: str) -> None:
    """Writes the file `pinned` with every package that the file `loose` calls for, versions and hashes.

    Args:
        folder: of both files; uv's remarks name them as they are called from there.
        loose: what is wanted.
        pinned: what to install, as `requirements/lock.sh` writes it for the servers of the repository.

    Raises:
        InstallError: uv failed.
    """
    uv = find_uv_bin()
    command = (uv, *PIN, "--python", sys.executable, loose, "--output-file", pinned)
    _run(command, folder, uv_variables(os.environ))


def uv_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that uv gets: the user's own, but of uv's settings only where packages come from."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith("UV_") or name in _KEPT or name.startswith("UV_INDEX")
    }
    kept.pop("VIRTUAL_ENV", None)
    translated = {
        uv_name: environment[pip_name] for pip_name, uv_name in _FROM_PIP.items() if pip_name in environment
    }
    if "PIP_FIND_LINKS" in environment:
        # pip separates with spaces, uv with commas.
        translated["UV_FIND_LINKS"] = ",".join(environment["PIP_FIND_LINKS"].split())
    fixed = {"UV_NO_CONFIG": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    return {**_PATIENCE, **translated, **kept, **fixed}


def explain(output: str) -> str:
    """The next step where the cause is a known one, and the last lines of uv's output."""
    said = (line for line in output.splitlines() if line.strip() and not line.startswith("Using Python "))
    lines = list(said)[-LAST_LINES:]
    lowered = output.lower()
    step = next((text for signs, text in _NEXT_STEPS if any(sign in lowered for sign in signs)), "")
    return "\n".join(filter(None, (step, *lines)))


def _run(command: tuple[str, ...], directory: Path, variables: Mapping[str, str]) -> None:
    # In the server's folder, so that a relative `-e ../server` in its requirements means what it says.
    done = subprocess.run(
        command,
        cwd=directory,
        env={**variables, OWNER_VARIABLE: str(Owner.this())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise InstallError(explain(done.stderr or done.stdout))
