"""Lays out what an image is built from, so that one content has one key, wherever the lab is."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gatebench.registry.requirements import joined, without_hashes
from gatebench.runners.docker.services import (
    _OWN_WORKLOADS,
    _is_shipped_workload,
    _parent,
    application_folder,
    server_folder,
)
from gatebench.words.commands import placeholders
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import Application, Server, Workload
from gatebench.words.paths import ROOT, SERVER_FILE

KEY_DIGITS = 12

_DOCKERFILE = "Dockerfile"
_USUAL = "requirements.txt"
_REQUIREMENTS = re.compile(r"requirements(-[a-z0-9-]+)?\.(in|txt)")
"""Files of a server's folder that say what its environments hold; an image needs its own alone."""
_OF_THE_LAB = (
    *("gatebench/__init__.py", "gatebench/contract", "gatebench/machine", "gatebench/words"),
    *("gatebench/runners/__init__.py", "gatebench/runners/docker/__init__.py"),
    "gatebench/runners/docker/agent.py",
)
"""What of the lab the load generator's image runs; a change of anything else builds no new one."""
_DATABASE = "database.Dockerfile"
_OF_THE_DATABASE = (
    "gatebench/runners/database.py",
    "gatebench/runners/process/__init__.py",
    "gatebench/runners/process/postgres.py",
    "gatebench/runners/docker/cluster.py",
)
"""What its image has of the lab beside what it is built on."""
_EDITABLE = re.compile(r"^\s*(?:-e|--editable)[\s=]+([^\s\[#]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Staged:
    """A build context.

    Attributes:
        dockerfile: its path in the context.
        key: 12 hexadecimal digits of the SHA-256 over names, contents and build arguments.
    """

    context: Path
    dockerfile: str
    build_args: Mapping[str, str]
    key: str


def stage_server(server: Server, applications: Sequence[Application], folder: Path) -> Staged:
    """The context of a server's image, with the applications that its subjects run, in the empty `folder`.

    Raises:
        ConfigurationError: with every file that cannot be read, or that leads out of its folder.
    """
    files = _Files()
    target = f"servers/{server.name}"
    needless = {
        path.name for path in server.folder.glob("requirements*") if _REQUIREMENTS.fullmatch(path.name)
    }
    needless -= {server.requirements.name}
    files.add_tree(server.folder, target, without=frozenset({SERVER_FILE, *needless}))
    files.problems += _linked_outside(server.folder, server.requirements)
    if (server.folder / _DOCKERFILE).exists():
        dockerfile = f"{target}/{_DOCKERFILE}"
        files.problems += _folder_not_copied(server, server.folder / _DOCKERFILE)
        files.problems += _requirements_not_taken(server, server.folder / _DOCKERFILE)
        files.add_file(ROOT / "requirements" / "build.txt", "requirements/build.txt")
    else:
        dockerfile = f"servers/{_DOCKERFILE}"
        files.add_file(ROOT / dockerfile, dockerfile)
    files.add_file(ROOT / "servers" / "launch.py", "servers/launch.py")
    _add_contract(files)
    for application in applications:
        _add_application(files, application)
    arguments = {"PIP_OPTIONS": "--require-hashes" if server.pinned else "", "SERVER": server.name}
    if server.requirements.name != _USUAL:
        arguments["REQUIREMENTS"] = server.requirements.name
    return files.write(folder, dockerfile, arguments)


def stage_pair(server: Server, application: Application, base: str, folder: Path) -> Staged:
    """The context of the image of an application that brings requirements, in the empty `folder`.

    Args:
        server: whose image it is built on.
        application: has requirements.
        base: name of the server's image, without an application.
        folder: of the context.

    Raises:
        ConfigurationError: with every file that cannot be read, or that leads out of its folder.
    """
    files = _Files()
    files.add_file(ROOT / "apps" / _DOCKERFILE, _DOCKERFILE)
    place = application_folder(application)
    if application.requirements is not None:
        files.problems += _linked_outside(application.folder, application.requirements)
    pinned = server.pinned and application.pinned
    text = joined(server, application, place)
    files.texts["requirements.txt"] = (text if pinned else without_hashes(text)).encode()
    _add_contract(files)
    _add_application(files, application)
    hashes = "--require-hashes" if pinned else ""
    return files.write(folder, _DOCKERFILE, {"BASE": base, "PIP_OPTIONS": hashes, "SERVER": server.name})


def stage_loadgen(workloads: Sequence[Workload], folder: Path) -> Staged:
    """The context of the load generator's image, with Locust files of the user's own, in the empty `folder`.

    The repository's workloads are always in it, so that a selection among them makes no other image.

    Raises:
        ConfigurationError: with every file that cannot be read, or that leads out of its folder.
    """
    files = _Files()
    files.add_file(ROOT / "requirements" / "loadgen.txt", "requirements/loadgen.txt")
    files.add_file(ROOT / "servers" / "launch.py", "servers/launch.py")
    _add_contract(files)
    for name in _OF_THE_LAB:
        if (ROOT / name).is_dir():
            files.add_tree(ROOT / name, name)
        else:
            files.add_file(ROOT / name, name)
    files.add_tree(ROOT / "loadtests", "loadtests")
    for workload in workloads:
        # What any other sends and expects, it is told.
        if workload.locustfile is not None and not _is_shipped_workload(workload):
            files.add_tree(workload.folder, f"{_OWN_WORKLOADS}/{workload.name}")
    return files.write(folder, f"loadtests/{_DOCKERFILE}", {})


def stage_database(base: str, folder: Path) -> Staged:
    """The context of the database's image, in the empty `folder`.

    Args:
        base: name of the load generator's image.
        folder: of the context.
    """
    files = _Files()
    files.add_file(ROOT / "loadtests" / _DATABASE, _DATABASE)
    for name in _OF_THE_DATABASE:
        files.add_file(ROOT / name, name)
    return files.write(folder, _DATABASE, {"BASE": base})


def _add_application(files: _Files, application: Application) -> None:
    for part in application.folders:
        parent = "apps" if part == application.plain else _parent(application)
        files.add_tree(part, f"{parent}/{part.name}")


def _add_contract(files: _Files) -> None:
    for name in ("__init__.py", "contract.toml"):
        files.add_file(ROOT / "apps" / name, f"apps/{name}")


def _folder_not_copied(server: Server, dockerfile: Path) -> list[str]:
    """What is wrong with a Dockerfile that does not copy the folder, where a variant names it."""
    place = server_folder(server)
    named = any("folder" in placeholders(text) for variant in server.variants for text in variant.texts)
    if not named or place in dockerfile.read_text(encoding="utf-8"):
        return []
    copy = f"COPY servers/{server.name}/ {place}/"
    return [f"{dockerfile}: a variant names {{folder}}, which an image has at {place}; add: {copy}"]


def _requirements_not_taken(server: Server, dockerfile: Path) -> list[str]:
    """What is wrong with a Dockerfile that installs one file alone, where a variant has its own."""
    if server.requirements.name == _USUAL or "${REQUIREMENTS}" in dockerfile.read_text(encoding="utf-8"):
        return []
    why = f"a variant has requirements of its own ({server.requirements.name})"
    return [f"{dockerfile}: {why}; add ARG REQUIREMENTS={_USUAL} and install from ${{REQUIREMENTS}}"]


def _linked_outside(folder: Path, requirements: Path) -> list[str]:
    """Linked folders (`-e PATH`) of the requirements in `folder` that an image cannot hold."""
    inside = folder.resolve()
    text = requirements.read_text(encoding="utf-8")
    return [
        f"{requirements}: -e {path}: lies outside {inside}, so that its image cannot hold it; "
        "move it into the folder, or use RUNNER=process"
        for path in _EDITABLE.findall(text)
        if "://" not in path and not (inside / path).resolve().is_relative_to(inside)
    ]


@dataclass(slots=True)
class _Files:
    """What goes into a context: its name there → the file it is read from, and what is wrong with them.

    Attributes:
        texts: name → content of what is in no file.
    """

    sources: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add_file(self, source: Path, name: str) -> None:
        self.sources[name] = source

    def add_tree(self, folder: Path, name: str, *, without: frozenset[str] = frozenset()) -> None:
        """Adds a folder's files, hidden and compiled ones left out, and those named in its top level."""
        root = folder.resolve()
        for source in self._walk(root, root):
            relative = source.relative_to(root)
            if relative.parts[0] not in without:
                self.sources[f"{name}/{relative.as_posix()}"] = source

    def _walk(self, folder: Path, root: Path) -> Iterator[Path]:
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            self.problems.append(f"{folder}: cannot be read: {error.strerror}")
            return
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__pycache__" or entry.suffix == ".pyc":
                continue
            if entry.is_symlink() and not self._stays_inside(entry, root):
                continue
            if entry.is_dir():
                yield from self._walk(entry, root)
            elif entry.is_file():
                yield entry
            else:
                self.problems.append(f"{entry}: is neither a file nor a folder; an image cannot hold it")

    def _stays_inside(self, link: Path, root: Path) -> bool:
        """Whether a symbolic link can be followed; notes it as a problem where it cannot."""
        try:
            target = link.resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
            self.problems.append(f"{link}: is a symbolic link that leads nowhere; remove it")
            return False
        if not target.is_relative_to(root):
            self.problems.append(
                f"{link}: is a symbolic link out of {root}, to {target}, which an image cannot hold; "
                "put a copy in its place"
            )
            return False
        if link.is_relative_to(target):
            self.problems.append(f"{link}: is a symbolic link to a folder that holds it; remove it")
            return False
        return True

    def write(self, folder: Path, dockerfile: str, build_args: Mapping[str, str]) -> Staged:
        """Copies everything into an empty folder, readable by every user, whatever the user's umask."""
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty")
        digest = hashlib.sha256(json.dumps([dockerfile, dict(build_args)], sort_keys=True).encode())
        everything: dict[str, Path | bytes] = {**self.sources, **self.texts}
        for name, source in sorted(everything.items()):
            try:
                content = source if isinstance(source, bytes) else source.read_bytes()
                executable = isinstance(source, Path) and bool(source.stat().st_mode & stat.S_IXUSR)
            except OSError as error:
                self.problems.append(f"{source!s}: cannot be read: {error.strerror}")
                continue
            # Of fixed length each, so that no two contexts are written as the same bytes.
            for part in (os.fsencode(name), b"x" if executable else b"-", content):
                digest.update(hashlib.sha256(part).digest())
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o755 if executable else 0o644)
        if self.problems:
            raise ConfigurationError(self.problems)
        for made in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            made.chmod(0o755)
        return Staged(folder, dockerfile, dict(build_args), digest.hexdigest()[:KEY_DIGITS])
