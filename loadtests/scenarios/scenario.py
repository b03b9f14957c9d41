"""An ordinary Locust file as a workload: its users run in slices, counted like those of the load engine.

To be used in a process that Locust has patched for gevent, such as `loadtests.lab`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, HttpUser, User
from locust.env import Environment

from loadtests.engine.tally import SliceResult
from loadtests.scenarios.locust_file import ScenarioError, load_users
from loadtests.scenarios.requests import Requests, Slice
from loadtests.scenarios.sockets import counting

__all__ = ["Scenario", "ScenarioError"]

START_S = 10.0
DRAIN_S = 10.0
GRACE_S = 2.0
POLL_S = 0.005
NO_ANSWER = f"no answer {DRAIN_S:.0f} s after the slice"


class Scenario:
    """The users of a Locust file against one server, with a Locust environment and runner of their own.

    Several may exist in a process; one at a time runs a slice. No user exists between slices: each slice is a
    whole Locust test with fresh users, fresh connections, `on_start`, `on_stop` and Locust's test events, and
    Locust's own statistics (`environment.stats`) hold the last one. Options of Locust's command line do not
    exist here.

    What a slice counts, and how it differs from the load engine's:
        - An answer is what Locust reports for one call of a user's client. A redirect that the client follows
          and a GET that geventhttpclient repeats on a lost connection are within the one call; the
          connections that they took do show.
        - The throughput is what completed in the window, over the window. Pauses between requests make whole
          turns (`loadtests.engine.estimator`) meaningless. A user whose requests take r and come every c
          seconds begins with a request, and so completes (1 + v²)/2 - r/c answers more than window/c, v being
          the coefficient of variation of c (renewal theory). That is less than one in window/c, and all but
          the same for every server: r₁ and r₂ differ by (r₁ - r₂)/(2 window) of the figure. Slices of at
          least 50 times c keep the figure itself within about 1 %.
        - The response times are Locust's, before it rounds them, and begin with each connection's first, the
          connect included: opening a connection is part of a visit.
        - `closed_by_server`: connections beyond the first of each user; a client that keeps connections opens
          another where the server ended the last.
        - `body`: also any answer that the file's own code refuses, or over which it raises.
        - `busy_share`: CPU time of this process, all threads.

    Args:
        file: the Locust file; `host`: `http://ADDRESS:PORT`; users: how many run at a time.

    Raises:
        ScenarioError: the file cannot be used.
    """

    def __init__(self, file: Path, host: str, users: int) -> None:
        self._file = file
        self._users = users
        self._clients: list[Any] = []
        classes, events = load_users(file)
        self._requests = Requests(events)
        watched = [self._requests.watched(each, self._joined) for each in classes]
        try:
            self.environment = Environment(user_classes=watched, events=events, host=host)
        except ValueError as error:
            raise ScenarioError(f"{file}: {error}; correct its user classes") from error
        self._runner = self.environment.create_local_runner()
        events.init.fire(environment=self.environment, runner=self._runner, web_ui=None)  # type: ignore[no-untyped-call] # Locust's

    def run_slice(self, window_s: float) -> SliceResult:
        """Starts all users at once, lets them run, and stops them with no request left in flight.

        After the window a user finishes the request it is in, and no other; only `on_stop` may still send.
        What is unanswered `DRAIN_S` after the window counts as `timeout`.

        Raises:
            ScenarioError: the users could not be started, sent nothing, or ended by themselves.
        """
        current = self._requests.begin()
        try:
            with counting(current.tally):
                self._start(current)
                gevent.sleep(max(0.0, window_s - (time.perf_counter_ns() - current.began_ns) / 1e9))
                current.over = True
                window_ns = time.perf_counter_ns() - current.began_ns
                running = self._runner.user_count
                self._drain(current)
                drained_ns = time.perf_counter_ns() - current.began_ns
                busy_s = time.process_time() - current.began_cpu_s
        finally:
            self._end(current)
        tally = current.tally
        if running < self._users and not any(tally.failures.values()):
            raise ScenarioError(
                f"{self._file}: {self._users - running} of {self._users} users ended before their slice did; "
                "let users go on until they are stopped (no StopUser)"
            )
        tally.closed_by_server = max(0, tally.opened - self._users)
        return SliceResult.of(
            tally,
            window_s=window_ns / 1e9,
            elapsed_s=max(window_ns, current.last_ns - current.began_ns) / 1e9,
            busy_share=busy_s / (drained_ns / 1e9),
            started_unix_ns=current.began_unix_ns,
            turns=(tally.completed, window_ns / 1e9),
        )

    def close(self) -> None:
        """Ends the scenario for good."""
        self._runner.quit()
        self.environment.events.quitting.fire(environment=self.environment, reverse=True)  # type: ignore[no-untyped-call] # Locust's

    def _joined(self, user: User) -> None:
        if isinstance(user, FastHttpUser):
            self._clients.append(user.client.client)
        elif isinstance(user, HttpUser):
            self._clients.append(user.client)

    def _start(self, current: Slice) -> None:
        """Has Locust start the users, and waits for their first request."""
        self._runner.start(self._users, spawn_rate=self._users)
        spawning, deadline = self._runner.spawning_greenlet, time.monotonic() + START_S
        if spawning is None or not gevent.joinall([spawning], timeout=START_S):
            raise ScenarioError(f"{self._file}: Locust took over {START_S:.0f} s to start its users")
        if spawning.exception is not None:
            error = spawning.exception
            raise ScenarioError(f"{self._file}: Locust could not start its users: {error!r}") from error
        while self._runner.user_count and not current.sent.wait(POLL_S) and time.monotonic() < deadline:
            if current.raised:
                break
        if current.sent.is_set():
            return
        if current.raised:
            raise ScenarioError(f"{self._file}: before any request: {current.raised}; correct the file")
        if not any(current.tally.failures.values()):
            raise ScenarioError(
                f"{self._file}: no user sent a request within {START_S:.0f} s; "
                "let users begin with one, and pause after it"
            )
        current.begin()

    def _drain(self, current: Slice) -> None:
        """Ends every user: at once if idle, after its answer if it waits for one, by force at last."""
        if self._empty(current, DRAIN_S):
            return
        hub = gevent.get_hub()
        for greenlet in current.in_flight:
            hub.loop.run_callback(_give_up, greenlet, current)
        if self._empty(current, GRACE_S):
            return
        for request in list(current.open):
            if not request.answered:
                current.open.discard(request)
                current.fail("timeout", f"{request.what}: {NO_ANSWER}")
                request.greenlet.kill(block=False)
        self._runner.user_greenlets.kill(timeout=GRACE_S)

    def _empty(self, current: Slice, patience_s: float) -> bool:
        """Sends users home until none is left and nothing is in flight; False when that takes too long."""
        hub, deadline = gevent.get_hub(), time.monotonic() + patience_s
        while (waiting := current.in_flight) or self._runner.user_count:
            if time.monotonic() > deadline:
                return False
            for greenlet in self._runner.user_greenlets:
                if greenlet not in waiting and greenlet not in current.leaving:
                    hub.loop.run_callback(_send_home, greenlet, current)
            gevent.sleep(POLL_S)
        return True

    def _end(self, current: Slice) -> None:
        """Brings Locust back to rest and closes every connection."""
        for request in current.open:
            text = "its answer was never judged; let nothing pause or raise inside its with-block"
            current.fail("body", f"{request.what}: {text}")
        self._requests.end()
        self._runner.user_greenlets.kill(timeout=GRACE_S)
        self._runner.stop()
        for client in self._clients:
            client.close()
        self._clients.clear()


# Both run in gevent's hub, so that nothing comes between the question and the deed.


def _send_home(greenlet: Any, current: Slice) -> None:
    """Ends a user between two requests, as Locust does it."""
    if greenlet not in current.in_flight and greenlet not in current.leaving:
        current.leaving.add(greenlet)
        greenlet.throw(gevent.GreenletExit)


def _give_up(greenlet: Any, current: Slice) -> None:
    """Has the client of a request without an answer report that it timed out, as it would by itself."""
    if greenlet in current.in_flight:
        greenlet.throw(TimeoutError(NO_ANSWER))
