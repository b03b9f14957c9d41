"""The Locust file of the benchmark: `FastHttpUser` on `/plaintext`, counted from when all users have started.

It prints one JSON line like `tools.bench_engine.picows_client`. BENCH_SECONDS says how long it counts.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

import gevent
from locust import FastHttpUser, events, task
from locust.env import Environment

BODY = b"Hello, World!"


class Visitor(FastHttpUser):
    """Asks again as soon as it has its answer, and compares it."""

    @task
    def plaintext(self) -> None:
        """One request."""
        with self.client.get("/plaintext", catch_response=True) as response:
            if response.content != BODY:
                response.failure(f"{response.content!r} instead of {BODY!r} ({response.error})")


def _count(environment: Environment) -> None:
    total = environment.stats.total
    before, started_s, cpu_s = total.num_requests, time.perf_counter(), time.process_time()
    gevent.sleep(float(os.environ["BENCH_SECONDS"]))
    said = {
        "counted": total.num_requests - before,
        "counted_s": time.perf_counter() - started_s,
        "cpu_s": time.process_time() - cpu_s,
    }
    if environment.runner is not None:
        environment.runner.quit()
    said["requests"] = total.num_requests
    failures = [error.to_name() for error in environment.stats.errors.values()]
    print(json.dumps({**said, "failures": failures}), flush=True)


@events.init.add_listener  # type: ignore[untyped-decorator]  # Locust's event decorators carry no types
def _on_init(environment: Environment, **_: Any) -> None:
    def begin(**_: Any) -> None:
        gevent.spawn(_count, environment)  # not in here: the runner waits until this returns

    environment.events.spawning_complete.add_listener(begin)  # type: ignore[no-untyped-call]  # as above
