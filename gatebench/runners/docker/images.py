"""Builds the images of servers and of the load generator, once for a content, and tells what is in them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gatebench.machine.processes import Owner
from gatebench.results.record import write_atomically
from gatebench.results.schema import ImageMeta
from gatebench.runners.docker.engine import ContainerOwner, Engine, EngineRefusedError
from gatebench.runners.docker.services import (
    _OWN_WORKLOADS,
    Build,
    Project,
    Service,
    _is_shipped_workload,
    _parent,
    render,
    server_folder,
)
from gatebench.words.commands import placeholders
from gatebench.words.errors import ConfigurationError, GatebenchError
from gatebench.words.model import Application, Server, Workload
from gatebench.words.paths import ROOT

KEY_DIGITS = 12

_DOCKERFILE = "Dockerfile"
_ONLY_OUTSIDE = frozenset({"server.toml", "requirements.in"})
"""Files of a server's folder that say how to run it or how to pin it; no image needs them."""
_OF_THE_LAB = (
    *("gatebench/__init__.py", "gatebench/contract", "gatebench/machine", "gatebench/words"),
    *("gatebench/runners/__init__.py", "gatebench/runners/docker/__init__.py"),
    "gatebench/runners/docker/agent.py",
)
"""What of the lab the load generator's image runs; a change of anything else builds no new one."""
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
    for name in _OF_THE_LAB:
        if (ROOT / name).is_dir():
            files.add_tree(ROOT / name, name)
        else:
            files.add_file(ROOT / name, name)
    files.add_tree(ROOT / "loadtests", "loadtests")
    for workload in workloads:
        if not _is_shipped_workload(workload):
            files.add_tree(workload.folder, f"{_OWN_WORKLOADS}/{workload.name}")
    return files.write(folder, f"loadtests/{_DOCKERFILE}", {})


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


POLL_S = 0.1
BUILDS_AT_ONCE = 4
BUILD_S = 1800.0
MIB = 1 << 20

_CONTENTS = """
import json, platform
from importlib.metadata import distributions
packages = {each.metadata["Name"]: each.version for each in distributions()}
libc = " ".join(platform.libc_ver())
print(json.dumps({"python": platform.python_version(), "libc": libc, "packages": packages}))
"""
"""Asked of the image itself, not of what was asked for."""


class BuildError(GatebenchError):
    """An image could not be built; with the build's last lines."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the engine has.

    Attributes:
        name: with the key of its content.
        id: its digest.
        facts: for `run.json`.
        packages: versions of what its Python environment holds.
    """

    name: str
    id: str
    facts: ImageMeta
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Contents:
    """What an image said of itself."""

    python: str
    libc: str
    packages: Mapping[str, str]


def _parse_contents(text: str) -> _Contents:
    """What an image said of itself, now or earlier.

    Raises:
        ValueError: it is not that.
    """
    match json.loads(text):
        case {"python": str(python), "libc": str(libc), "packages": dict(packages)}:
            return _Contents(python, libc, packages)
    raise ValueError(f"it said {text[:200]!r} of itself")


def _cause(said: str) -> str:
    """The line of a failed build that names the fault: the first one of a tool, else BuildKit's own."""
    lines = [line for line in said.splitlines() if "ERROR:" in line or "error:" in line]
    return lines[0].partition("RROR:")[2].strip() or lines[0].strip() if lines else "see below"


def base_of(dockerfile: str) -> str:
    """The image that the last stage of a Dockerfile is made from, with its arguments' defaults filled in."""
    defaults = dict(re.findall(r"^ARG\s+(\w+)=(\S+)\s*$", dockerfile, re.MULTILINE))
    stages: dict[str, str] = {}
    base = ""
    for image, name in re.findall(
        r"^FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?\s*$", dockerfile, re.MULTILINE | re.IGNORECASE
    ):
        filled = re.sub(r"\$\{?(\w+)\}?", lambda match: defaults.get(match[1], match[0]), image)
        base = stages.get(filled, filled)
        stages[name] = base
    return base


class Images:
    """Builds what is missing.

    Args:
        engine: which builds and keeps them.
        owner: the lab whose mark the builds carry.
        scratch: folder for build contexts.
        cache: folder for what is known of images.
        report: called with a line of progress, from several threads, one call at a time.
    """

    def __init__(
        self, engine: Engine, *, owner: Owner, scratch: Path, cache: Path, report: Callable[[str], None]
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._scratch = scratch
        self._cache = cache
        self._report = report
        self._lock = threading.Lock()

    def of_servers(
        self, servers: Sequence[tuple[Server, Sequence[Application]]]
    ) -> dict[str, Image | BuildError]:
        """Each server's image with its applications; one that cannot be built stops no other.

        Returns:
            Server's name → its image, or why there is none.
        """

        def make(each: tuple[Server, Sequence[Application]]) -> Image | BuildError:
            server, applications = each
            try:
                staged = stage_server(server, applications, self._scratch / f"context-{server.name}")
                return self._image(server.name, staged)
            except ConfigurationError as error:
                return BuildError(str(error))
            except BuildError as error:
                if not ended.is_set():
                    self._say(f"{server.name}: unavailable")  # the run says why, of each of its subjects
                return error

        ended = threading.Event()
        with ThreadPoolExecutor(BUILDS_AT_ONCE) as pool:
            builds = {server.name: pool.submit(make, (server, apps)) for server, apps in servers}
            try:
                return {name: build.result() for name, build in builds.items()}
            finally:  # whoever ends the lab does not wait for the rest of the builds
                ended.set()
                pool.shutdown(wait=False, cancel_futures=True)
                while not all(build.done() for build in builds.values()):
                    self._engine.end_commands()
                    time.sleep(POLL_S)

    def of_load(self, workloads: Sequence[Workload]) -> Image:
        """The load generator's image, with the workloads that are not the repository's.

        Raises:
            BuildError: it cannot be built.
            ConfigurationError: a workload's folder cannot be put into it.
        """
        return self._image("loadgen", stage_loadgen(workloads, self._scratch / "context-loadgen"))

    def _image(self, name: str, staged: Staged) -> Image:
        tag = f"gatebench/{name}:{staged.key}"
        if self._engine.image(tag) is None:
            self._say(f"{name}: building its image")
            self._build(name, tag, staged)
            self._say(f"{name}: built")
        found = self._engine.image(tag)
        if found is None:
            raise BuildError(f"the image {tag} was built and is not there; start again")
        contents = self._contents(tag, str(found["Id"]))
        base_name = base_of((staged.context / staged.dockerfile).read_text(encoding="utf-8"))
        base = self._engine.image(base_name)
        facts = ImageMeta(
            name=tag,
            id=str(found["Id"]),
            base=base_name,
            base_id=str(base["Id"]) if base is not None else "",
            size_mib=round((found["Size"] - base["Size"]) / MIB, 1) if base is not None else None,
            python=contents.python,
            libc=contents.libc,
        )
        return Image(tag, facts.id, facts, dict(sorted(contents.packages.items())))

    def _build(self, name: str, tag: str, staged: Staged) -> None:
        service = Service(
            name=name,
            image=tag,
            command=(),
            build=Build(str(staged.context), staged.dockerfile, staged.build_args),
        )
        project = f"gatebench-build-{self._owner}-{name}".lower()
        file = self._scratch / f"build-{name}.yml"
        owner = ContainerOwner.this(self._owner)
        file.write_text(render(Project(project, (service,), str(owner))), encoding="utf-8")
        done = self._engine.compose(project, file, "build", name, timeout_s=BUILD_S, owner=self._owner)
        if done.status:
            raise BuildError(
                f"its image could not be built: {_cause(done.said)}\nThe last lines of the build by "
                f"{staged.dockerfile}:\n{done.said}"
            )

    def _contents(self, tag: str, image_id: str) -> _Contents:
        """Python, libc and packages of an image, which never change.

        Raises:
            BuildError: the image has no Python that would tell.
        """
        file = self._cache / f"{image_id.rpartition(':')[2]}.json"
        with suppress(OSError, ValueError):  # not known yet, or damaged
            return _parse_contents(file.read_text(encoding="utf-8"))
        try:
            text = self._engine.output_of(tag, ["python", "-c", _CONTENTS])
            contents = _parse_contents(text)
        except (EngineRefusedError, ValueError) as error:
            raise BuildError(
                f"the image {tag} was built, but `python` does not run in it:\n{error}"
            ) from error
        with suppress(OSError):  # asked again next time
            self._cache.mkdir(parents=True, exist_ok=True)
            write_atomically(file, text.encode())
        return contents

    def _say(self, line: str) -> None:
        with self._lock:
            self._report(line)
