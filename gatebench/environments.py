"""Gives each server a virtual environment of its own, made once by uv and kept under a key of its content."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from gatebench.errors import GatebenchError
from gatebench.installer import InstallError, install
from gatebench.model import Server, Variant

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
    servers: Sequence[Server], cache: Path, *, report: Callable[[str], None]
) -> dict[str, Environment | Unavailable]:
    """Each server's environment in `cache`, made where it is missing; one that fails stops no other.

    Args:
        servers: with distinct names.
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
        made = pool.map(lambda server: _prepare_one(server, cache, report_one), servers)
        return {server.name: environment for server, environment in zip(servers, made, strict=True)}


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


def environment_folder(server: Server, cache: Path) -> Path:
    """Where a server's environment belongs: under its name and a key of its requirements and this Python."""
    python = f"{platform.python_version()} {sysconfig.get_config_var('SOABI')} {platform.machine()}"
    content = server.requirements.read_bytes() + b"\0" + python.encode()
    return cache / f"{server.name}-{hashlib.sha256(content).hexdigest()[:12]}"


def _prepare_one(server: Server, cache: Path, report: Callable[[str], None]) -> Environment | Unavailable:
    folder = environment_folder(server, cache)
    with _locked(folder):
        if _is_complete(folder):
            return _environment(folder)
        missing = tuple(
            dict.fromkeys(name for variant in server.variants for name in missing_needs(variant, None))
        )
        remedy = remedy_for(server, missing)
        if server.variants and all(missing_needs(variant, None) for variant in server.variants):
            report(f"{server.name}: unavailable: {remedy}")
            return Unavailable(remedy)
        report(f"{server.name}: installing into {folder}")
        try:
            if folder.exists():  # a run that was killed left it behind, or the cache was moved
                shutil.rmtree(folder)
            install(server, folder)
            (folder / _MARKER).write_text(str(folder), encoding="utf-8")
        except (InstallError, OSError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            reason = "\n".join(filter(None, (str(error), remedy)))
            report(f"{server.name}: unavailable: {reason}")
            return Unavailable(reason)
        report(f"{server.name}: installed")
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
