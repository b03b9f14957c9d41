"""Keeps with a run what it was made from: its server, application and workload folders, as they were.

The copy has the repository's layout, so that `gatebench reproduce` reads it as it reads the repository. A
user's own applications lie apart: the path by which they are imported is part of what was measured.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from gatebench.errors import ConfigurationError
from gatebench.model import Subject, Workload
from gatebench.registry import APPLICATIONS, SERVERS, WORKLOADS, Registry, load_registry
from gatebench.selection import ROOT

FOLDER = "sources"
OWN_APPLICATIONS = "own-apps"
CLAIMS = "claims"
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def keep_sources(
    subjects: Sequence[Subject], workloads: Sequence[Workload], folder: Path, claims: Sequence[Path] = ()
) -> None:
    """Copies what a run is made from into `folder`, which is new.

    Raises:
        OSError: it could not be written, or a folder could not be read.
    """
    (folder / SERVERS).mkdir(parents=True)
    for server in {subject.server.name: subject.server for subject in subjects}.values():
        _copy(server.folder, folder / SERVERS / server.name)
    (folder / APPLICATIONS).mkdir()
    for name in ("__init__.py", "contract.toml"):
        shutil.copy(ROOT / APPLICATIONS / name, folder / APPLICATIONS / name)
    (folder / OWN_APPLICATIONS).mkdir()
    for application in {each.application.name: each.application for each in subjects}.values():
        for part in application.folders:
            packaged = application.packaged or part == application.plain
            _copy(part, folder / (APPLICATIONS if packaged else OWN_APPLICATIONS) / part.name)
    (folder / WORKLOADS).mkdir(parents=True)
    for workload in workloads:
        _copy(workload.folder, folder / WORKLOADS / workload.name)
    (folder / CLAIMS).mkdir()
    for number, file in enumerate(claims):
        shutil.copy(file, folder / CLAIMS / f"{number}-{file.name}")


def claims_of(folder: Path) -> tuple[Path, ...]:
    """The user's claims files that were kept in `folder`, in the order in which they were named."""
    return tuple(sorted((folder / CLAIMS).glob("*.toml")))


def kept_registry(folder: Path) -> Registry:
    """What was kept in `folder`, as a registry.

    Raises:
        ConfigurationError: nothing was kept, or this version does not understand it.
    """
    if not (folder / SERVERS).is_dir():
        raise ConfigurationError(
            f"{folder}: is not there, so the run's servers are not known exactly: an older run did not keep "
            "them, or they were left out on publishing; it can be compared with others, but not repeated"
        )
    own = folder / OWN_APPLICATIONS  # an archive holds no empty folder
    return load_registry(folder, apps_dirs=[own] if own.is_dir() else [], shipped=False)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=_LEFT_OUT, dirs_exist_ok=True)
