"""What the clients are driven against: nginx, an echo server, a server with a known delay."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gatebench.machine.kernel import fresh_port
from gatebench.machine.processes import cpu_s, tree
from gatebench.words.text import counted
from tools.bench_engine.outputs import BenchmarkError
from tools.bench_engine.tools import find, missing

HOST = "127.0.0.1"
BODY = b"Hello, World!"
FIXED_ID = "0123456789abcdef" * 2
"""As long as what nginx makes for each request; it makes one here, too, and sends this."""
DEADLINE_S = 5.0
NGINX = """
daemon off; worker_processes {workers}; worker_cpu_affinity {masks}; pid {work}/pid;
error_log {work}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
  server {{
    listen {host}:{port} backlog=4096 reuseport;
    default_type text/plain;
    location /plaintext {{ return 200 "Hello, World!"; }}
    location /fixed-id {{
      set $made $request_id; add_header X-Request-ID {fixed_id}; return 200 "Hello, World!";
    }}
    location /request-id {{
      set $made $request_id; add_header X-Request-ID $made; return 200 "Hello, World!";
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Responder:
    """A running server: its name for the reader, its port, and the processes that serve, one a core."""

    name: str
    port: int
    pids: tuple[int, ...]

    def cpu_s(self) -> tuple[float, ...]:
        """CPU seconds of each serving process so far.

        Raises:
            BenchmarkError: one has ended. Not every client notices that.
        """
        try:
            return tuple(cpu_s([pid]) for pid in self.pids)
        except ProcessLookupError as error:
            raise BenchmarkError(f"{self.name} ended while it was being driven: {error}") from error

    def cpu_since(self, before: Sequence[float]) -> tuple[float, ...]:
        """CPU seconds of each serving process since `cpu_s` gave `before`."""
        return tuple(now - then for now, then in zip(self.cpu_s(), before, strict=True))


@contextlib.contextmanager
def nginx(cores: Sequence[int]) -> Iterator[Responder]:
    """Runs nginx with one worker on each core, answering `/plaintext`.

    Every worker listens for itself (`reuseport`); with one listening socket for all, the first to wake could
    take all connections.

    Raises:
        BenchmarkError: it is missing or does not come to listen.
    """
    command = find("nginx")
    if command is None:
        raise BenchmarkError(missing("nginx"))
    port = fresh_port(HOST, set())
    masks = " ".join(f"{1 << core:b}" for core in cores)
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as work:
        file = Path(work) / "nginx.conf"
        placed = {"work": work, "host": HOST, "port": port, "workers": len(cores), "masks": masks}
        file.write_text(NGINX.format(**placed, fixed_id=FIXED_ID))
        with _running([command, "-e", f"{work}/error.log", "-c", str(file)]) as process:
            workers = _await_workers(process, len(cores), Path(work) / "error.log")
            _await_port(port)
            yield Responder("nginx", port, workers)


@contextlib.contextmanager
def echo_server(cores: Sequence[int]) -> Iterator[Responder]:
    """Runs the WebSocket echo server, one process on each core, all on one port."""
    port = fresh_port(HOST, set())
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(_own_server("echo_server", core, "--port", str(port))) for core in cores
        ]
        yield Responder("echo server", port, tuple(process.pid for process in processes))


@dataclass(frozen=True, slots=True)
class ServiceLog:
    """What a delay server logged.

    Attributes:
        rows: when a request was read, in microseconds since 1970; whether it was its connection's first; and
            its service time in microseconds.
    """

    rows: tuple[tuple[int, bool, int], ...]

    def took_us(self, *, since_unix_us: int = 0) -> list[int]:
        """Service times of requests read since then, without the connections' first."""
        return [took for unix_us, is_first, took in self.rows if unix_us >= since_unix_us and not is_first]


def parse_service_log(text: str) -> ServiceLog:
    """Reads what `tools.bench_engine.delay_server` prints at its end."""
    fields = [line.split("\t") for line in text.splitlines()]
    return ServiceLog(tuple((int(unix_us), first == "1", int(took)) for unix_us, first, took in fields))


class DelayServer:
    """A running server with a fixed delay; `log` ends it.

    Args:
        core: the core that it runs on.
        delay_ms: what it waits before each answer.
    """

    def __init__(self, core: int, delay_ms: float) -> None:
        self._stack = contextlib.ExitStack()
        port = fresh_port(HOST, set())
        self._process = self._stack.enter_context(
            _own_server("delay_server", core, "--port", str(port), "--delay-ms", f"{delay_ms:g}")
        )
        self.responder = Responder("delay server", port, (self._process.pid,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def log(self) -> ServiceLog:
        """Ends the server and reads its log."""
        return parse_service_log(self._process.communicate(timeout=DEADLINE_S)[0])


@contextlib.contextmanager
def _own_server(module: str, core: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Runs one of this package's servers, which print `ready` and end with their standard input."""
    command = ["taskset", "--cpu-list", str(core), sys.executable, "-m", f"tools.bench_engine.{module}"]
    with _running([*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise BenchmarkError(f"{module} did not start; what it said is above")
        yield process


@contextlib.contextmanager
def _running(
    command: list[str], *, stdin: int = subprocess.DEVNULL, stdout: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdin=stdin, stdout=stdout, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_workers(process: subprocess.Popen[str], count: int, log: Path) -> tuple[int, ...]:
    """The workers of nginx: the master's children."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and process.poll() is None:
        workers = tree(process.pid)[1:]
        if len(workers) == count:
            return workers
        time.sleep(0.05)
    said = log.read_text() if log.exists() else ""
    raise BenchmarkError(f"nginx did not start {counted(count, 'worker')} in {DEADLINE_S:g} s:\n{said}")


def _await_port(port: int) -> None:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.05)
    raise BenchmarkError(f"nothing listened on port {port} in {DEADLINE_S:g} s")
