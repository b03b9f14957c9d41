"""Stages the build context of an image in a clean folder, and knows it by the hash of its content.

A staged folder has the repository's layout, so that the same Dockerfiles build from either. It holds what
an image is made of and nothing else; what lies outside the repository has `own/` and `own-workloads/` in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gatebench.commands import placeholders
from gatebench.errors import ConfigurationError
from gatebench.model import Application, Interface, Server, Workload
from gatebench.selection import ROOT

SOURCES = "/srv"
"""Where an image holds the sources."""
KEY_DIGITS = 12

_DOCKERFILE = "Dockerfile"
_OWN_APPLICATIONS = "own"
_OWN_WORKLOADS = "own-workloads"
_ONLY_OUTSIDE = frozenset({"server.toml", "requirements.in"})
"""Files of a server's folder that say how to run it or how to pin it; no image needs them."""
_ONLY_DEVELOPMENT = frozenset({"bench"})
"""Folders of `loadtests/` that need more than the load generator's environment."""
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
    files.add_tree(server.folder, target, without=_ONLY_OUTSIDE)
    files.problems += _editables_outside(server)
    if (server.folder / _DOCKERFILE).exists():
        dockerfile = f"{target}/{_DOCKERFILE}"
        files.problems += _folder_not_copied(server, server.folder / _DOCKERFILE)
        files.add_file(ROOT / "requirements" / "build.txt", "requirements/build.txt")
    else:
        dockerfile = f"servers/{_DOCKERFILE}"
        files.add_file(ROOT / dockerfile, dockerfile)
    files.add_file(ROOT / "servers" / "launch.py", "servers/launch.py")
    _add_contract(files)
    for application in applications:
        for part in application.folders:
            parent = "apps" if part == application.plain else _parent(application)
            files.add_tree(part, f"{parent}/{part.name}")
    return files.write(
        folder,
        dockerfile,
        {"PIP_OPTIONS": "--require-hashes" if server.pinned else "", "SERVER": server.name},
    )


def stage_loadgen(workloads: Sequence[Workload], folder: Path) -> Staged:
    """The context of the load generator's image, with workloads of the user's own, in the empty `folder`.

    The repository's workloads are always in it, so that a selection among them makes no other image.

    Raises:
        ConfigurationError: with every file that cannot be read, or that leads out of its folder.
    """
    files = _Files()
    files.add_file(ROOT / "requirements" / "loadgen.txt", "requirements/loadgen.txt")
    files.add_file(ROOT / "servers" / "launch.py", "servers/launch.py")
    _add_contract(files)
    files.add_tree(ROOT / "gatebench", "gatebench")
    files.add_tree(ROOT / "loadtests", "loadtests", without=_ONLY_DEVELOPMENT)
    for workload in workloads:
        if not _is_shipped_workload(workload):
            files.add_tree(workload.folder, f"{_OWN_WORKLOADS}/{workload.name}")
    return files.write(folder, f"loadtests/{_DOCKERFILE}", {})


def server_folder(server: Server) -> str:
    """The path in an image of a server's folder, for the placeholder `{folder}`."""
    return f"{SOURCES}/servers/{server.name}"


def app_file(application: Application, interface: Interface) -> str:
    """The path in an image of the application's source file, for the placeholder `{app_file}`."""
    return f"{SOURCES}/{_parent(application)}/{application.name}/{interface}.py"


def python_path(application: Application) -> str:
    """PYTHONPATH in an image: as outside, what the import path starts from, and what `apps.plain` does."""
    return SOURCES if application.packaged else f"{SOURCES}/{_OWN_APPLICATIONS}:{SOURCES}"


def workload_folder(workload: Workload) -> str:
    """The path in the load generator's image of the workload's folder, with its Locust file."""
    parent = "loadtests/workloads" if _is_shipped_workload(workload) else _OWN_WORKLOADS
    return f"{SOURCES}/{parent}/{workload.name}"


def _parent(application: Application) -> str:
    return "apps" if application.packaged else _OWN_APPLICATIONS


def _is_shipped_workload(workload: Workload) -> bool:
    return workload.folder.parent == ROOT / "loadtests" / "workloads"


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


def _editables_outside(server: Server) -> list[str]:
    """Linked folders (`-e PATH`) of the requirements that an image cannot hold."""
    inside = server.folder.resolve()
    text = server.requirements.read_text(encoding="utf-8")
    return [
        f"{server.requirements}: -e {path}: lies outside {inside}, so that its image cannot hold it; "
        "move it into the folder, or use RUNNER=process"
        for path in _EDITABLE.findall(text)
        if "://" not in path and not (inside / path).resolve().is_relative_to(inside)
    ]


@dataclass(slots=True)
class _Files:
    """What goes into a context: its name there → the file it is read from, and what is wrong with them."""

    sources: dict[str, Path] = field(default_factory=dict)
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
        for name, source in sorted(self.sources.items()):
            try:
                content = source.read_bytes()
                executable = bool(source.stat().st_mode & stat.S_IXUSR)
            except OSError as error:
                self.problems.append(f"{source}: cannot be read: {error.strerror}")
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
