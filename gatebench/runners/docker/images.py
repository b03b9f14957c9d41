"""Builds the images of servers and of the load generator, once for a content, and tells what is in them."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gatebench.machine.processes import Owner
from gatebench.results.record import write_atomically
from gatebench.results.surroundings import ImageMeta
from gatebench.runners.docker.engine import ContainerOwner, Engine, EngineRefusedError
from gatebench.runners.docker.services import Build, Project, Service, render
from gatebench.runners.docker.staging import (
    Staged,
    stage_database,
    stage_loadgen,
    stage_pair,
    stage_server,
)
from gatebench.words.errors import ConfigurationError, GatebenchError
from gatebench.words.model import Application, Server, Workload

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
        """Each server's images with its applications; one that cannot be built stops no other.

        An application that brings requirements has an image of its own, on the server's, whose layers all
        of its pairs share.

        Returns:
            `uvicorn`, or `uvicorn+flask` (`Subject.environment`) → its image, or why there is none.
        """
        shared = {
            server.environment: (server, [each for each in applications if each.requirements is None])
            for server, applications in servers
        }
        pairs = {
            f"{server.environment}+{application.name}": (server, application)
            for server, applications in servers
            for application in applications
            if application.requirements is not None
        }

        def of_server(name: str, server: Server, applications: Sequence[Application]) -> Image:
            context = self._scratch / f"context-{name}-{len(applications)}"
            return self._image(name, stage_server(server, applications, context))

        def of_pair(name: str, server: Server, application: Application) -> Image:
            base = bases[server.environment]
            if isinstance(base, BuildError):
                raise base
            staged = stage_pair(server, application, base.name, self._scratch / f"context-{name}")
            return self._image(name, staged, on=base)

        # Where every application brings requirements, no subject runs in the server's image itself.
        made = self._all(
            {
                name: partial(of_server, name, server, applications)
                for name, (server, applications) in shared.items()
                if applications or not any(each == server for each, _ in pairs.values())
            }
        )
        under = {server.environment: server for server, _ in pairs.values()}
        bases = self._all({name: partial(of_server, name, server, ()) for name, server in under.items()})
        jobs = {name: partial(of_pair, name, *pair) for name, pair in pairs.items()}
        return made | self._all(jobs)

    def _all(self, jobs: Mapping[str, Callable[[], Image]]) -> dict[str, Image | BuildError]:
        """What each of the jobs gives, several at a time, or why it gives nothing."""

        def make(name: str, job: Callable[[], Image]) -> Image | BuildError:
            try:
                return job()
            except ConfigurationError as error:
                return BuildError(str(error))
            except BuildError as error:
                if not ended.is_set():
                    self._say(f"{name}: unavailable")  # the run says why, of each of its subjects
                return error

        ended = threading.Event()
        with ThreadPoolExecutor(BUILDS_AT_ONCE) as pool:
            builds = {name: pool.submit(make, name, job) for name, job in jobs.items()}
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

    def of_database(self, load: Image) -> Image | BuildError:
        """The database's image, on the load generator's; or why there is none."""
        staged = stage_database(load.name, self._scratch / "context-database")
        try:
            return self._image("database", staged, on=load)
        except BuildError as error:
            return error

    def _image(self, name: str, staged: Staged, *, on: Image | None = None) -> Image:
        """The image of a context, built where it is missing; `on` is that of the lab which it builds on."""
        tag = f"gatebench/{name.replace('+', '-')}:{staged.key}"
        if self._engine.image(tag) is None:
            self._say(f"{name}: building its image")
            self._build(name, tag, staged)
            self._say(f"{name}: built")
        found = self._engine.image(tag)
        if found is None:
            raise BuildError(f"the image {tag} was built and is not there; start again")
        contents = self._contents(tag, str(found["Id"]))
        dockerfile = (staged.context / staged.dockerfile).read_text(encoding="utf-8")
        base_name = on.facts.base if on is not None else base_of(dockerfile)
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
        name = name.replace("+", "-")
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
