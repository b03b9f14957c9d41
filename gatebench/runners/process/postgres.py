"""A PostgreSQL cluster of a run, as processes: made in its scratch folder, ended and removed with it."""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gatebench.contract.tables import statements
from gatebench.machine.kernel import CoreTime, core_time, fresh_port
from gatebench.machine.processes import (
    OWNER_VARIABLE,
    STOP_VARIABLE,
    Owner,
    cpu_of_family_s,
    kept_to,
    kill,
    tree,
)
from gatebench.runners.database import (
    NAME,
    SETTINGS,
    SILENT_SETTINGS,
    USER,
    DatabaseFacts,
    complaints_in,
    explain,
)
from gatebench.words.errors import ServerFailure
from gatebench.words.paths import HOST

PROGRAMS = ("initdb", "postgres", "psql")
DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs of each major version, which are on nobody's PATH."""
REMEDY = (
    "PostgreSQL is missing (initdb, postgres and psql): run `apt-get install -y --no-install-recommends "
    "postgresql`; the service that it starts is not needed"
)
UNPRIVILEGED = ("postgres", "nobody")
"""Users that it may run as where the lab runs as root, which PostgreSQL refuses."""
PORT_ATTEMPTS = 5
IPC_RMID = 0
"""The command of shmctl(2) that removes a segment."""
START_TIMEOUT_S = 30.0
STEP_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class _Account:
    """Who it runs as; no user for the lab's own."""

    user: int | None = None
    group: int | None = None

    @property
    def options(self) -> dict[str, object]:
        """As `subprocess` takes them."""
        if self.user is None:
            return {}
        return {"user": self.user, "group": self.group, "extra_groups": []}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a database is to listen, and with which password."""

    host: str
    port: int
    password: str


def new_password() -> str:
    """One that nobody has had before; letters and digits alone, since it stands in a URL."""
    return secrets.token_hex(24)


class Postgres:
    """A cluster that runs.

    Attributes:
        url: for the servers, with its password.
        cores: those that it runs on.
        facts: for `run.json`.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        log: Path,
        url: str,
        cores: Sequence[int],
        facts: DatabaseFacts,
    ) -> None:
        self.url = url
        self.cores = cores
        self.facts = facts
        self._process = process
        self._log = log
        self._read = 0

    def fault(self) -> str:
        """Empty while it runs; else why not, with its last lines."""
        status = self._process.poll()
        if status is None:
            return ""
        _remove_shared_memory(self._log.parent / "data")
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        return f"the database {how}\n{explain(_text(self._log))}"

    def cpu_s(self) -> float | None:
        """CPU seconds that all of its processes have used, those that have ended included."""
        return cpu_of_family_s(self._process.pid)

    def core(self) -> CoreTime | None:
        """How long its cores have run anything."""
        return core_time(self.cores)

    def complaints(self) -> tuple[str, ...]:
        """Why it refused connections since the last look, each once, with what helps."""
        return complaints_in(self.said())

    def said(self) -> str:
        """What it has written since the last look."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            said = file.read()
        self._read += len(said)
        return said.decode(errors="replace")

    def stop(self) -> None:
        """Ends it at once."""
        _end(self._process)


def find_programs(path: str | None = None, debian: Path = DEBIAN) -> Mapping[str, str] | None:
    """Name → file of the programs that a cluster needs, all of one version; None where they are not there.

    Args:
        path: where commands are looked for, as PATH; None for that itself.
        debian: holds a folder for each version, the newest of which is taken where PATH has none.
    """
    versions = sorted(
        debian.glob("*/bin"), key=lambda each: [int(n) for n in re.findall(r"\d+", each.parent.name)]
    )
    for place in (path, *map(str, reversed(versions))):
        found = {name: shutil.which(name, path=place) for name in PROGRAMS}
        if all(found.values()):
            return {name: file for name, file in found.items() if file is not None}
    return None


def start_postgres(
    folder: Path,
    *,
    owner: Owner,
    cores: Sequence[int],
    connections: int,
    report: Callable[[str], None],
    taken: set[int],
    place: Place | None = None,
) -> Postgres:
    """Makes a cluster, starts it and fills the contract's tables.

    Args:
        folder: where nothing is yet, in a folder that every user may enter; its owner removes it.
        owner: the lab whose mark it carries.
        cores: those that it runs on.
        connections: how many it accepts.
        report: gets a line of progress.
        taken: ports that are not to be used; its own is added.
        place: where it listens, and its password; loopback, a free port and a new one where nobody says.

    Raises:
        ServerFailure: it is not installed, or cannot be made, started or filled; with what helps.
    """
    programs = find_programs()
    if programs is None:
        raise ServerFailure("start", REMEDY)
    account = _account()
    folder.mkdir(mode=0o700)
    if account.user is not None and account.group is not None:
        os.chown(folder, account.user, account.group)
    report("starting a PostgreSQL of the run's own")
    host, password = (HOST, new_password()) if place is None else (place.host, place.password)
    step = _Steps(programs, folder, account, cores, owner)
    try:
        secret = folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(password, encoding="ascii")
        if account.user is not None and account.group is not None:
            os.chown(secret, account.user, account.group)
    except OSError as error:
        raise ServerFailure("start", explain(f"{folder}: {error.strerror}")) from error
    data = folder / "data"
    step.run(
        *("initdb", "--pgdata", str(data), "--username", USER, "--pwfile", str(secret)),
        *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
    )
    secret.unlink()
    if host != HOST:
        with (data / "pg_hba.conf").open("a", encoding="ascii") as rules:
            rules.write("host all all all scram-sha-256\n")
    process, port, log = _serve(step, data, connections, taken, place)
    address = ("--host", HOST, "--port", str(port), "--username", USER, "--dbname", "postgres")
    text = f"CREATE DATABASE {NAME};\n\\connect {NAME}\n" + "".join(f"{each};\n" for each in statements())
    try:
        quiet = ("--no-psqlrc", "--quiet", "--no-password", "--set", "ON_ERROR_STOP=1")
        step.run("psql", *quiet, *address, text=text, PGPASSWORD=password)
        version = step.run("postgres", "--version")
    except ServerFailure:
        _end(process)
        raise
    number = re.search(r"\d+(\.\d+)*", version)
    facts = DatabaseFacts(number[0] if number else version.strip(), connections, tuple(cores))
    url = f"postgresql://{USER}:{password}@{HOST}:{port}/{NAME}"
    return Postgres(process, log, url, cores, facts)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a cluster at once: nothing of it is needed again."""
    family = tree(process.pid)
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGQUIT)  # removes its shared memory, which SIGKILL would leave
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    kill(family)
    process.wait()


class _Steps:
    """Runs the programs of a cluster: as its user, on its cores, with the lab's mark."""

    def __init__(
        self,
        programs: Mapping[str, str],
        folder: Path,
        account: _Account,
        cores: Sequence[int],
        owner: Owner,
    ) -> None:
        self.folder = folder
        self._programs = programs
        self._account = account
        self._cores = cores
        self._variables = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            OWNER_VARIABLE: str(owner),
        }

    def run(self, name: str, *arguments: str, text: str = "", **variables: str) -> str:
        """What a program prints that reads `text` and has these variables beside the usual ones.

        Raises:
            ServerFailure: it fails; with what it printed.
        """
        try:
            with kept_to(self._cores):
                done = subprocess.run(
                    (self._programs[name], *arguments),
                    cwd=self.folder,
                    env={**self._variables, **variables},
                    input=text,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=STEP_TIMEOUT_S,
                    **self._account.options,  # type: ignore[call-overload]
                )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServerFailure("start", f"{name}: {error}") from error
        if done.returncode:
            raise ServerFailure("start", f"{name} failed: {explain(done.stdout + done.stderr)}")
        return str(done.stdout)

    def serve(self, data: Path, host: str, port: int, connections: int, log: Path) -> subprocess.Popen[bytes]:
        """Starts the cluster and returns at once."""
        settings = {
            **SETTINGS,
            **SILENT_SETTINGS,
            "listen_addresses": host,
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": str(connections),
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with log.open("ab") as output, kept_to(self._cores):
            process: subprocess.Popen[bytes] = subprocess.Popen(
                (self._programs["postgres"], "-D", str(data), *options),
                cwd=self.folder,
                # The fast end: by SIGQUIT it removes its shared memory as well.
                env={**self._variables, STOP_VARIABLE: "QUIT"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._account.options,  # type: ignore[call-overload]
            )
        return process


def _serve(
    step: _Steps, data: Path, connections: int, taken: set[int], place: Place | None
) -> tuple[subprocess.Popen[bytes], int, Path]:
    """Starts the cluster on a free port, or on another where somebody was quicker: process, port and log."""
    last = ""
    for attempt in range(PORT_ATTEMPTS):
        host, port = (HOST, fresh_port(HOST, taken)) if place is None else (place.host, place.port)
        log = step.folder / f"log-{attempt}"
        process = step.serve(data, host, port, connections, log)
        end_s = time.monotonic() + START_TIMEOUT_S
        while process.poll() is None and time.monotonic() < end_s:
            if _is_ready(data):
                return process, port, log
            time.sleep(POLL_S)
        _end(process)
        last = _text(log)
        if "could not bind" not in last or place is not None:
            break
    raise ServerFailure("start", f"postgres did not start: {explain(last)}")


def _remove_shared_memory(data: Path) -> None:
    """Removes the small segment that a cluster leaves behind whose first process was killed by SIGKILL.

    Its lock file, which it then leaves as well, has key and ID of the segment in the seventh line.
    """
    with suppress(OSError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        if len(lines) > 6 and len(words := lines[6].split()) == 2 and words[1].isdigit():
            ctypes.CDLL(None).shmctl(int(words[1]), IPC_RMID, None)


def _is_ready(data: Path) -> bool:
    """Whether it takes connections, as the last line of its lock file says (PostgreSQL's `pidfile.h`)."""
    with suppress(OSError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        return len(lines) > 7 and lines[7].strip() == "ready"  # the eighth line
    return False


def _account() -> _Account:
    """Who the cluster runs as.

    Raises:
        ServerFailure: the lab runs as root, and this machine has no other user for it.
    """
    if os.geteuid() != 0:
        return _Account()
    for name in UNPRIVILEGED:
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return _Account(found.pw_uid, found.pw_gid)
    raise ServerFailure(
        "start",
        f"PostgreSQL does not run as root, and there is no user {' or '.join(UNPRIVILEGED)}; run the lab as "
        "an ordinary user",
    )


def _text(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""
