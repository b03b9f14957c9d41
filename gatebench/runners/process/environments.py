"""Gives each server a virtual environment of its own, made once by uv and kept under a key of its content."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from uv import find_uv_bin

from gatebench.machine.processes import OWNER_VARIABLE, Owner
from gatebench.registry.requirements import joined
from gatebench.words.errors import GatebenchError
from gatebench.words.model import Application, Server, Variant

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
_PATIENCE: Mapping[str, str] = {
    "UV_HTTP_TIMEOUT": "15",
    "UV_HTTP_RETRIES": "2",
    "UV_LOCK_TIMEOUT": "1800",
}
"""uv's own 30 s and 3 retries for each file would leave a run without network silent for minutes.

Its 300 s for a lock are too few where several pairs of a server that is compiled wait for the first of them.
"""
_NEXT_STEPS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("no space left on device", "os error 28", "disk quota exceeded"),
        "the disk is full: free some space (`uv cache prune` helps), then run it again",
    ),
    (
        ("was not found in the package registry", "there is no version of"),
        "a package or version that is required does not exist: correct the requirements",
    ),
    (
        ("no solution found", "conflicting url", "requirements are unsatisfiable"),
        "the requirements contradict each other: change those of the application, or leave this pair out",
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an environment is made for: a server, or a server with an application that brings requirements."""

    server: Server
    application: Application | None = None

    @property
    def name(self) -> str:
        """`uvicorn` or `uvicorn+flask`: as `Subject.environment`."""
        return self.server.environment + (f"+{self.application.name}" if self.application else "")

    @property
    def requirements(self) -> bytes:
        """What is installed, as one file."""
        if self.application is None:
            return self.server.requirements.read_bytes()
        return joined(self.server, self.application, str(self.application.folder)).encode()

    @property
    def pinned(self) -> bool:
        """Whether every requirement has its version and its hash."""
        return self.server.pinned and (self.application is None or self.application.pinned)


class InterruptedInstallError(InstallError):
    """Somebody ended the lab, and the installation with it."""


def install(wanted: Wanted, folder: Path) -> None:
    """Makes an environment at `folder`, where nothing is yet.

    Args:
        wanted: its requirements are installed; where they are pinned, each must match its hash.
        folder: where the environment stays, since its scripts hold its path.

    Raises:
        InstallError: uv failed.
    """
    uv = find_uv_bin()
    variables = uv_variables(os.environ)
    python = folder / "bin" / "python"
    pinned = ("--require-hashes",) if wanted.pinned else ()
    server = wanted.server
    _run((uv, "venv", "--python", sys.executable, str(folder)), server.folder, variables)
    requirements = server.requirements
    if wanted.application is not None:
        requirements = folder / "requirements.txt"
        requirements.write_bytes(wanted.requirements)
    command = (uv, "pip", "install", "--python", str(python))
    everything = (*command, *pinned, "--requirements", str(requirements))
    if wanted.pinned and _has_installed((*everything, "--offline"), server.folder, variables):
        return
    if server.pinned and not wanted.pinned:  # only the newest of the rest will do
        own = (*command, "--require-hashes", "--requirements", str(server.requirements), "--offline")
        _has_installed(own, server.folder, variables)
    _run(everything, server.folder, variables)


def _has_installed(command: tuple[str, ...], directory: Path, variables: Mapping[str, str]) -> bool:
    """Whether all was in uv's cache; what is pinned and hashed is the same from there.

    Where an index, such as a mirror, does not say that its files may be kept, uv would fetch and compile a
    source anew for each pair of its server.

    Raises:
        InterruptedInstallError: somebody ended it.
    """
    try:
        _run(command, directory, variables)
    except InterruptedInstallError:
        raise
    except InstallError:
        return False
    return True


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


_INTERRUPTED = frozenset({-signal.SIGINT, 128 + signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGTERM})


def _run(command: tuple[str, ...], directory: Path, variables: Mapping[str, str]) -> None:
    owner = Owner.this()
    scratch = owner.scratch()  # a build leaves lock files in the folder for temporary ones
    try:
        # In the server's folder, so that a relative `-e ../server` in its requirements means what it says.
        done = subprocess.run(
            command,
            cwd=directory,
            env={**variables, OWNER_VARIABLE: str(owner), "TMPDIR": str(scratch)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if done.returncode in _INTERRUPTED:
        raise InterruptedInstallError("its installation was interrupted")
    if done.returncode != 0:
        raise InstallError(explain(done.stderr or done.stdout))


BUILDS_AT_ONCE = 4
"""Installing is mostly waiting for the network; only uWSGI and mod_wsgi compile."""
SYSTEM_PATH = ("/usr/sbin", "/usr/local/sbin", "/sbin")
"""Where system commands may be that an ordinary user's PATH leaves out, such as apxs."""

_MARKER = ".gatebench-complete"


@dataclass(frozen=True, slots=True)
class Environment:
    """A server's environment: the folder of its commands, and the version of each package in it."""

    bin: Path
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why a server cannot be had on this machine, for a person, with what to do next."""

    reason: str


def prepare(
    wanted: Sequence[Wanted], cache: Path, *, report: Callable[[str], None]
) -> dict[str, Environment | Unavailable]:
    """Each environment in `cache`, made where it is missing; one that fails stops no other.

    Args:
        wanted: with distinct names.
        cache: folder of the environments, made where missing; several runs may share it at once.
        report: gets one line for each environment that is begun, finished or refused. It is called from
            several threads, one call at a time.

    Raises:
        GatebenchError: the cache folder cannot be written.
    """
    cache = cache.resolve()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GatebenchError(
            f"{cache}: cannot be made: {error.strerror}; name another cache folder"
        ) from error
    lock = threading.Lock()

    def report_one(line: str) -> None:
        with lock:
            report(line)

    with ThreadPoolExecutor(max_workers=BUILDS_AT_ONCE) as pool:
        made = pool.map(lambda each: _prepare_one(each, cache, report_one), wanted)
        return {each.name: environment for each, environment in zip(wanted, made, strict=True)}


def missing_needs(variant: Variant, environment: Environment | None) -> tuple[str, ...]:
    """The system commands that the variant needs and that neither its environment nor the system has."""
    own = () if environment is None else (str(environment.bin),)
    path = os.pathsep.join((*own, os.environ.get("PATH", os.defpath), *SYSTEM_PATH))
    return tuple(command for command in variant.needs if shutil.which(command, path=path) is None)


def remedy_for(server: Server, missing: Sequence[str]) -> str:
    """What a person can do about system commands that are missing, from the server's `remedies`."""
    return "; ".join(
        f"the command {command} is missing: "
        + (f"run `{server.remedies[command]}`" if command in server.remedies else "install it")
        for command in missing
    )


def environment_folder(wanted: Wanted, cache: Path) -> Path:
    """Where an environment belongs: under its name and a key of its requirements and this Python."""
    python = f"{platform.python_version()} {sysconfig.get_config_var('SOABI')} {platform.machine()}"
    content = wanted.requirements + b"\0" + python.encode()
    return cache / f"{wanted.name}-{hashlib.sha256(content).hexdigest()[:12]}"


def _prepare_one(wanted: Wanted, cache: Path, report: Callable[[str], None]) -> Environment | Unavailable:
    server, folder = wanted.server, environment_folder(wanted, cache)
    with _locked(folder):
        if _is_complete(folder):
            return _environment(folder)
        missing = tuple(
            dict.fromkeys(name for variant in server.variants for name in missing_needs(variant, None))
        )
        remedy = remedy_for(server, missing)
        if server.variants and all(missing_needs(variant, None) for variant in server.variants):
            report(f"{wanted.name}: unavailable: {remedy}")
            return Unavailable(remedy)
        report(f"{wanted.name}: installing into {folder}")
        try:
            if folder.exists():  # a run that was killed left it behind, or the cache was moved
                shutil.rmtree(folder)
            install(wanted, folder)
            (folder / _MARKER).write_text(str(folder), encoding="utf-8")
        except (InstallError, OSError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            reason = "\n".join(filter(None, (str(error), remedy)))
            report(f"{wanted.name}: unavailable: {reason}")
            return Unavailable(reason)
        report(f"{wanted.name}: installed")
        return _environment(folder)


def _is_complete(folder: Path) -> bool:
    """Whether it was finished, in this place (scripts hold its path), by a Python that is still there."""
    marker = folder / _MARKER
    return (
        marker.is_file()
        and marker.read_text(encoding="utf-8") == str(folder)
        and (folder / "bin" / "python").exists()
    )


def _environment(folder: Path) -> Environment:
    """What is in the environment, read from itself and not from what was asked for."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = {
        found.metadata["Name"]: found.version
        for found in distributions(path=[str(folder / "lib" / version / "site-packages")])
    }
    return Environment(folder / "bin", dict(sorted(packages.items())))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock of an environment, so that of two runs one makes it and the other waits for it.

    The lock's file stays: were it removed, a third run could lock a new file while the second holds the old.
    """
    with (folder.parent / f".{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
