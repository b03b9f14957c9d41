"""Imports an application of one's own once, before any server is started, to tell what it is.

Where its servers will be processes, that is in an environment with what it requires; where they will be
containers, in one like theirs. So what an import finds there, its servers find, too.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gatebench.cli import recognise as recogniser
from gatebench.machine.processes import OWNER_VARIABLE, Owner, sweep
from gatebench.runners.process.environments import Environment, Wanted, prepare
from gatebench.runners.session import watched
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import Application, Server
from gatebench.words.paths import CACHE

if TYPE_CHECKING:
    from gatebench.runners.docker.engine import Engine

SOURCE = "source"
"""The folder in an application's own that holds the copy of what the person named."""
REQUIREMENTS = "requirements.txt"
IMPORT_S = 60.0
APP = re.compile(
    r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)(?P<call>\(\))?"
)
ENGINE_S = 30.0
"""What an engine may take to start a container and to say that it has ended."""
_KILLED = 137
"""The status of a command that `timeout` has killed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an import ended.

    Attributes:
        status: of its Python; None where it took too long.
        output: what it printed; the recogniser's last line is its finding.
        errors: what it wrote beside that.
    """

    status: int | None
    output: str
    errors: str


class Importer(Protocol):
    """Imports modules of an application's folder."""

    def import_all(
        self, folder: Path, arguments: Sequence[Sequence[str]], variables: Mapping[str, str]
    ) -> tuple[list[Ended], str]:
        """Installs what the application requires, and runs the recogniser once for each list of arguments.

        Args:
            folder: the application's, with `source`, and with `requirements.txt` where it requires something.
            arguments: the recogniser's, but for the folder that is searched.
            variables: of the application.

        Returns:
            How each ended, and the folder that was searched, as it names that in what it says.

        Raises:
            ConfigurationError: what the application requires cannot be installed.
        """


def recognised(
    apps: Sequence[str], folder: Path, variables: Mapping[str, str], importer: Importer, shown: Path
) -> dict[str, dict[str, str]]:
    """What each application says of itself: its `interface`, or the `problem` with it.

    Args:
        apps: `module:name` or `module:factory()`.
        folder: the application's.
        variables: of the application.
        importer: what imports it.
        shown: the folder that the person named, of which `folder` holds a copy.
    """
    found = [(app, match) for app in apps if (match := APP.fullmatch(app))]
    arguments = [
        (match["module"], match["name"], "factory" if match["call"] else "object") for _, match in found
    ]
    ended, searched = importer.import_all(folder, arguments, variables)
    # A person knows the folder, and not the copy of it that is gone by the time this is read.
    return {
        app: {key: text.replace(searched, str(shown)) for key, text in _finding(app, each).items()}
        for (app, _), each in zip(found, ended, strict=True)
    }


def _finding(app: str, ended: Ended) -> dict[str, str]:
    if ended.status is None:
        return {
            "problem": f"{app}: importing it takes more than {IMPORT_S:g} s; does it start a server, or wait?"
        }
    try:
        said: dict[str, str] = json.loads(ended.output.splitlines()[-1])
    except (IndexError, ValueError):
        last = "\n  ".join((ended.errors or ended.output).splitlines()[-recogniser.LAST_LINES :])
        return {"problem": f"{app}: importing it ended Python with status {ended.status}:\n  {last}"}
    return said


class ProcessImporter:
    """Imports in an environment of the application's own, on this machine.

    Args:
        report: called with a line of progress.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report

    def import_all(
        self, folder: Path, arguments: Sequence[Sequence[str]], variables: Mapping[str, str]
    ) -> tuple[list[Ended], str]:
        """As `Importer` says."""
        source = str(folder / SOURCE)
        environment, owner = self.environment(folder), Owner.this()
        python = str(environment.bin / "python")
        scratch = owner.scratch()  # a server's working folder is empty, too
        given = {
            "PATH": str(environment.bin),
            "PYTHONDONTWRITEBYTECODE": "1",
            **variables,
            OWNER_VARIABLE: str(owner),
        }
        try:
            with watched(owner):
                commands = ((python, "-B", recogniser.__file__, *each, source) for each in arguments)
                return [_run(command, scratch, given) for command in commands], source
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def environment(self, folder: Path) -> Environment:
        """What the application requires, installed by itself."""
        own = _own_server(folder)
        made = prepare((Wanted(own),), CACHE, report=self._report)[own.name]
        if not isinstance(made, Environment):
            raise ConfigurationError(f"--requirements: they cannot be installed: {made.reason}")
        return made


def _run(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Ended:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=IMPORT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ended(None, "", "")
    return Ended(done.returncode, done.stdout, done.stderr)


class ContainerImporter:
    """Imports in a container, hardened as a server's, of an image with the application and what it requires.

    Args:
        engine: which has answered.
        report: called with a line of progress.
    """

    def __init__(self, engine: Engine, report: Callable[[str], None]) -> None:
        self._engine = engine
        self._report = report

    def import_all(
        self, folder: Path, arguments: Sequence[Sequence[str]], variables: Mapping[str, str]
    ) -> tuple[list[Ended], str]:
        """As `Importer` says."""
        # The SDK is slow to import; runs in processes do without.
        from gatebench.runners.docker.backend import IMAGES  # noqa: PLC0415
        from gatebench.runners.docker.images import BuildError, Images  # noqa: PLC0415
        from gatebench.runners.docker.services import SOURCES, application_folder, server_folder  # noqa: PLC0415

        server = _own_server(folder)
        application = Application(folder.name, folder, folder.parent, None, None)
        sweep()
        owner = Owner.this()
        scratch = owner.scratch()
        try:
            with watched(owner, containers=True):
                images = Images(self._engine, owner=owner, scratch=scratch, cache=IMAGES, report=self._report)
                made = images.of_servers([(server, [application])])[server.name]
                if isinstance(made, BuildError):
                    raise ConfigurationError(f"--requirements: {made}")
                source = f"{application_folder(application)}/{SOURCE}"
                script = f"{server_folder(server)}/{Path(recogniser.__file__).name}"
                given = {"PYTHONPATH": SOURCES, **variables}
                commands = (("python", "-B", script, *each, source) for each in arguments)
                return [self._run(made.name, command, given) for command in commands], source
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _run(self, image: str, command: Sequence[str], variables: Mapping[str, str]) -> Ended:
        began = time.monotonic()
        limited = ("timeout", "--signal=KILL", f"{IMPORT_S:g}", *command)
        done = self._engine.run_like_a_server(image, limited, variables, IMPORT_S + ENGINE_S)
        late = done.status == _KILLED and time.monotonic() - began >= IMPORT_S
        return Ended(None if late else done.status, done.output, done.errors)


def _own_server(folder: Path) -> Server:
    """A server that is nothing but what an application requires, and the recogniser.

    Args:
        folder: the application's, with its requirements where it has some.
    """
    own = folder.parent.parent / "importing" / folder.name
    own.mkdir(parents=True)
    shutil.copy(recogniser.__file__, own)
    required = folder / REQUIREMENTS
    text = required.read_text(encoding="utf-8") if required.exists() else ""
    (own / REQUIREMENTS).write_text(text, encoding="utf-8")
    return Server(folder.name, own, "", (), own / REQUIREMENTS, pinned=False)
