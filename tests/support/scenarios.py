"""Runs Locust files through `loadtests.scenarios`, in a process of their own, against servers that count."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatebench.words.paths import HOST, ROOT
from loadtests.engine.tally import FAILURES, SliceResult
from tests.support.contract_server import ContractServer, Faults
from tests.support.lab import PATIENCE_S
from tests.support.scripted import ScriptedServer

USERS = 4
WINDOW_S = 0.4

# Locust patches the standard library for gevent, so scenarios live in a process of their own.
DRIVER = """
import locust, json, sys
from pathlib import Path
import gevent
import loadtests.scenarios.scenario as module

file, users, window_s, slices, patience_s, transport, options, *hosts = sys.argv[1:]
module.START_S = module.DRAIN_S = float(patience_s)
module.WARM_UP_MOST_S = 2 * float(patience_s)
scenarios, reported, results = [], [], []
try:
    for host in hosts:
        scenarios.append(module.Scenario(
            Path(file), host, int(users), transport=transport, options=json.loads(options)))
        scenarios[-1].environment.events.request.add_listener(
            lambda response_time, exception=None, **_: exception or reported.append(response_time))
    for scenario in scenarios:
        scenario.run_slice(float(window_s))
    reported.clear()
    for _ in range(int(slices)):
        for scenario in scenarios:
            total = scenario.environment.stats.total
            before = total.num_requests, total.num_failures
            result = scenario.run_slice(float(window_s))
            after = total.num_requests, total.num_failures
            results.append([result.to_json(), after[0] - before[0], after[1] - before[1]])
            gevent.sleep(0.2)
except module.ScenarioError as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps({"results": results, "reported": reported}))
finally:
    for scenario in scenarios:
        scenario.close()
"""

LOADER = """
import locust, json, sys
from pathlib import Path
from loadtests.scenarios.scenario import Scenario, ScenarioError

def refusal(file):
    try:
        Scenario(Path(file), "http://127.0.0.1:1", 1).close()
    except ScenarioError as error:
        return str(error)
    return ""

print(json.dumps([refusal(file) for file in sys.argv[1:]]))
"""

HEAD = """
import gevent
from locust import FastHttpUser, HttpUser, LoadTestShape, User, constant, constant_pacing, events, task
from locust.exception import StopUser
"""


def visitor(*lines: str, base: str = "FastHttpUser") -> str:
    """A Locust file with one user, whose only task has these lines."""
    body = "".join(f"        {line}\n" for line in lines)
    return f"{HEAD}\nclass Visitor({base}):\n    @task\n    def visit(self):\n{body}"


PLAIN = visitor('self.client.get("/plaintext")')
CHECKED = visitor(
    'with self.client.get("/plaintext", catch_response=True) as answer:',
    '    if answer.content != b"Hello, World!":',
    '        answer.failure("not what was said")',
    "gevent.sleep(0.005)",
)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes requests and never answers, until the client goes away."""
    await reader.read()


class HonestServer(ContractServer):
    """Counts its connections, its answers and those that are still being made."""

    def __init__(self) -> None:
        self.answered = 0
        self.opened = 0
        targets = (
            "GET /",
            "GET /json",
            "POST /echo",
            "GET /plaintext",
            "GET /wait/50",
            "GET /wait/7",
            "GET /no",
        )
        super().__init__(Faults(spoil=dict.fromkeys(targets, self._count)))

    def _count(self, answer: bytes) -> bytes:
        self.answered += 1
        return answer

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        await super()._connection(reader, writer)


@dataclass(frozen=True)
class Outcome:
    """What a driver printed: results, response times as Locust reported them (ms), or the error.

    `statistics` are the requests and failures that Locust's own statistics gained in each slice.
    """

    results: list[SliceResult]
    statistics: list[tuple[int, int]]
    reported_ms: list[float]
    error: str
    stderr: str


def drive(
    file: Path,
    *ports: int,
    users: int = USERS,
    window_s: float = WINDOW_S,
    slices: int = 1,
    patience_s: float = PATIENCE_S,
    transport: str = "keep-alive",
    options: Mapping[str, str] | None = None,
) -> Outcome:
    """Warms the file's scenario up and runs slices of it, on one server after the other."""
    figures = (users, window_s, slices, patience_s, transport, json.dumps(options or {}))
    hosts = [f"http://{HOST}:{port}" for port in ports]
    command = [sys.executable, "-c", DRIVER, str(file), *map(str, figures), *hosts]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    results = said.get("results", [])
    return Outcome(
        [SliceResult.from_json(result) for result, _, _ in results],
        [(requests, failures) for _, requests, failures in results],
        said.get("reported", []),
        said.get("error", ""),
        done.stderr,
    )


def written(folder: Path, text: str) -> Path:
    file = folder / "locustfile.py"
    file.write_text(text)
    return file


def one(folder: Path, text: str, server: ScriptedServer, **options: Any) -> SliceResult:
    """The result of one slice of a Locust file on a server."""
    with server:
        outcome = drive(written(folder, text), server.port, **options)
    assert outcome.error == ""
    (result,) = outcome.results
    return result


def failed(result: SliceResult) -> dict[str, int]:
    """The kinds of failure that occurred."""
    assert set(result.failures) == set(FAILURES)
    return {kind: count for kind, count in result.failures.items() if count}


def refusals(*files: Path) -> list[str]:
    """What is wrong with each Locust file, "" for one that is accepted."""
    command = [sys.executable, "-c", LOADER, *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    found: list[str] = json.loads(done.stdout)
    return found
