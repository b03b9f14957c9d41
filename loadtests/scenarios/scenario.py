"""An ordinary Locust file as a workload: its users live from warm-up to end, and slices count what they do.

To be used in a process that Locust has patched for gevent, such as `loadtests.swarm.process`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import gevent

from loadtests.engine.tally import SliceResult
from loadtests.scenarios.reading import (
    ScenarioError,
    load_users,
    make_environment,
    parsed_options,
    refuse_idle_users,
)
from loadtests.scenarios.requests import Requests
from loadtests.scenarios.users import Member, watched_class

__all__ = ["Scenario", "ScenarioError"]

START_S = 10.0
DRAIN_S = 10.0
GRACE_S = 2.0
POLL_S = 0.005
WARM_UP_MOST_S = 60.0
"""In that time every user must have begun, and have gone through its first pause."""
NO_ANSWER = f"no answer {DRAIN_S:.0f} s after the slice"
NEVER_JUDGED = "its answer was never judged; let nothing pause or raise inside its with-block"


class Scenario:
    """The users of a Locust file against one server, with a Locust environment and runner of their own.

    The first slice, which is the warm-up, starts the users; they live until `close`, as in one Locust test:
    `test_start`, `on_start`, `on_stop` and `test_stop` come once, and a pause is as long as the file says.
    A slice is a window of that life in which is counted, and sends nobody home.

    What a slice counts, and how it differs from the load engine's:
        - An answer is what Locust reports for one call of one of its clients, or what the file itself fires
          with `events.request`, where bytes of it went to the server: over a WebSocket in a workload of
          `websocket`, by plain HTTP in the others. A redirect that the client follows and a GET that
          geventhttpclient repeats on a lost connection are within the one call.
        - The throughput is what completed in the window, over the window. What was in flight at its end is
          `drained`, with its response time; so is, without one, what others get while it is waited for.
          Users go on meanwhile. `pause_variance` tells how much of the count the pauses leave to chance.
        - Failures count whenever they come: those of a start, of the warm-up or between slices are in the
          next result, too.
        - The response times are Locust's, before it rounds them. One that a file gives itself stays within
          what its socket saw, where one exchange at a time went over it.
        - `closed_by_server`: connections that the server ended or said it would, as the sockets saw it.
        - `body`: also any answer that the file's own code refuses, or over which it raises.
        - `busy_share`: CPU time of this process, all threads.

    Args:
        file: the Locust file; `host`: `http://ADDRESS:PORT`; users: how many run at a time.
        transport: what the workload declares; under `close` each request gets a connection of its own.
        options: of the file's own command-line options, those that are set.

    Raises:
        ScenarioError: the file cannot be used.
    """

    def __init__(
        self,
        file: Path,
        host: str,
        users: int,
        *,
        transport: str = "keep-alive",
        options: Mapping[str, str] | None = None,
    ) -> None:
        self._file = file
        self._host = host
        self._users = users
        self._transport = transport
        self._begun = False
        classes, events = load_users(file)
        self._requests = Requests(events, host, transport)
        parsed = parsed_options(file, events, options or {}, host=host, users=users)
        watched = [watched_class(each, self._requests) for each in classes]
        self.environment = make_environment(file, watched, events, parsed)
        refuse_idle_users(file, self.environment.user_classes, users)
        self._runner = self.environment.create_local_runner()
        # What the file asks of its runner is told, and ends the cell; the lab's own calls go past this.
        self._runner.quit = lambda: self._requests.file_quits("runner.quit")  # type: ignore[method-assign]
        self._runner.stop = lambda: self._requests.file_quits("runner.stop")  # type: ignore[method-assign]
        events.init.fire(environment=self.environment, runner=self._runner, web_ui=None)  # type: ignore[no-untyped-call] # Locust's

    def run_slice(self, window_s: float) -> SliceResult:
        """Counts for `window_s` seconds; the first one starts the users, and lasts until they are under way.

        What is unanswered `DRAIN_S` after the window counts as `timeout`.

        Raises:
            ScenarioError: users could not be started, ended by themselves, or sent nothing; the file ended
                the test; or what they sent did not go to the server, or not as the workload's transport says.
        """
        requests, first = self._requests, not self._begun
        began_unix_ns, began_cpu_s = time.time_ns(), time.process_time()
        requests.begin()
        began_ns = time.perf_counter_ns()
        if first:
            self._begun = True
            self._start()
            self._come_round(window_s, began_ns)
        else:
            requests.disturbed.wait(window_s)
        requests.end_window()
        window_ns = time.perf_counter_ns() - began_ns
        self._drain()
        elapsed_ns = time.perf_counter_ns() - began_ns
        busy_s = time.process_time() - began_cpu_s
        variance = 0.0 if first else requests.turns.take_variance()
        self._refuse_disturbed()
        self._refuse_strays()
        if not first:
            self._refuse_other_transport()
        tally = requests.end()
        if first:
            requests.carry(tally)
            requests.turns.forget()
        return SliceResult.of(
            tally,
            window_s=window_ns / 1e9,
            elapsed_s=elapsed_ns / 1e9,
            busy_share=busy_s / (elapsed_ns / 1e9),
            started_unix_ns=began_unix_ns,
            turns=(tally.completed, window_ns / 1e9),
            pause_variance=variance,
        )

    def close(self) -> None:
        """Ends the users and the scenario for good."""
        self._requests.stopping = True
        del self._runner.quit, self._runner.stop
        self._runner.user_greenlets.kill(timeout=GRACE_S)
        self._runner.quit()
        self.environment.events.quitting.fire(environment=self.environment, reverse=True)  # type: ignore[no-untyped-call] # Locust's
        self._requests.close_connections()

    def _start(self) -> None:
        """Has Locust start the users; the first of each class begins."""
        self._runner.start(self._users, spawn_rate=self._users)
        spawning = self._runner.spawning_greenlet
        if spawning is None or not gevent.joinall([spawning], timeout=START_S):
            raise ScenarioError(f"{self._file}: Locust took over {START_S:.0f} s to start its users")
        if spawning.exception is not None:
            error = spawning.exception
            raise ScenarioError(f"{self._file}: Locust could not start its users: {error!r}") from error
        gevent.sleep(0)
        members = self._requests.members
        if len(members) < self._users:
            raise ScenarioError(
                f"{self._file}: Locust started {len(members)} of {self._users} users; look at the weight and "
                "fixed_count of its user classes"
            )

    def _come_round(self, warm_up_s: float, began_ns: int) -> None:
        """Starts the users one after the other, over one of their turns; waits until each ended its first.

        Users in step would make a rate of the moments that a slice happens to hold. The first of each class
        shows how long a turn is.
        """
        deadline = time.monotonic() + WARM_UP_MOST_S
        members = self._requests.members
        firsts = list({each.user_class: each for each in reversed(members)}.values())
        for member in firsts:
            member.may_begin.set()
        self._await_first_request()
        self._await_turns(firsts, deadline)
        others = [each for each in members if each not in firsts]
        turn_s = max((each.first_turn_s for each in firsts), default=0.0)
        pause_s = max(warm_up_s / 2, turn_s) / max(1, len(others))
        began = time.monotonic()
        for number, member in enumerate(others):
            self._requests.disturbed.wait(max(0.0, began + number * pause_s - time.monotonic()))
            member.may_begin.set()
        self._await_turns(members, deadline)
        rest_s = warm_up_s - (time.perf_counter_ns() - began_ns) / 1e9
        self._requests.disturbed.wait(max(0.0, rest_s))

    def _await_first_request(self) -> None:
        requests, deadline = self._requests, time.monotonic() + START_S
        while not requests.acted.wait(POLL_S) and not requests.disturbed.is_set():
            if requests.raised:
                raise ScenarioError(f"{self._file}: before any request: {requests.raised}; correct the file")
            if time.monotonic() > deadline:
                raise ScenarioError(
                    f"{self._file}: no user sent a request within {START_S:.0f} s; let users begin with one, "
                    "over a socket of their own process (a child process is not watched), and pause after it"
                )

    def _await_turns(self, members: list[Member], deadline: float) -> None:
        waiting, requests = list(members), self._requests
        while waiting := [each for each in waiting if not each.turns]:
            if requests.disturbed.wait(POLL_S):
                return
            if requests.overdue(waiting, DRAIN_S):
                return  # the server does not answer, which is counted after the window
            if time.monotonic() > deadline:
                raise ScenarioError(
                    f"{self._file}: after {WARM_UP_MOST_S:.0f} s {len(waiting)} of {self._users} users had "
                    "not gone from their first task to their second, so nothing steady can be measured; "
                    "shorten the pauses"
                )

    def _drain(self) -> None:
        """Waits for what was in flight when the window ended; users go on meanwhile."""
        requests, deadline = self._requests, time.monotonic() + DRAIN_S
        while requests.awaited and time.monotonic() < deadline and not requests.disturbed.is_set():
            gevent.sleep(POLL_S)
        if requests.disturbed.is_set():
            return
        for request in list(requests.awaited):
            if request.answered:
                requests.give_up(request, "body", NEVER_JUDGED)
            else:
                requests.give_up(request, "timeout", NO_ANSWER)

    def _refuse_disturbed(self) -> None:
        """Tells why users, or the whole test, ended before the lab ended them."""
        requests = self._requests
        if not requests.disturbed.is_set():
            return
        if requests.quit_by_file:
            code = self.environment.process_exit_code
            call = requests.quit_by_file + (f", exit code {code}" if code else "")
            if requests.first_failure:
                what = f"{requests.first_failure}; then the file ended the test ({call})"
            else:
                what = f"the file ended the test by itself ({call}) after {requests.judged:,} requests"
            raise ScenarioError(
                f"{self._file}: {what}. The lab decides how long users run: mend what fails, and end no test "
                "in the file"
            )
        ended = Counter(each.ended for each in requests.members if each.ended)
        reasons = ", ".join(
            f"{why}" + (f" ({count} times)" if count > 1 else "") for why, count in ended.items()
        )
        before = f" after {requests.first_failure}" if requests.first_failure else ""
        raise ScenarioError(
            f"{self._file}: {ended.total()} of {self._users} users ended before their slice did{before}: "
            f"{reasons}; let users go on until they are stopped (no StopUser, no exception in on_start)"
        )

    def _refuse_strays(self) -> None:
        requests, stray = self._requests, self._requests.stray
        subject = self._host.removeprefix("http://")
        if stray is not None:
            if stray.where:
                where = f"went to {stray.where}, not to the server at {subject}"
                advice = "name paths (/json) or self.host; a redirect or HTTP_PROXY may lead elsewhere, too"
            else:
                where = f"reached no socket, so not the server at {subject}"
                advice = "send every request anew: no cache, no mock, no TLS"
            raise ScenarioError(
                f"{self._file}: {stray.count:,} of {requests.judged + stray.count:,} requests {where}; the "
                f"first was {stray.what}. {advice[0].upper()}{advice[1:]}"
            )
        uncounted = requests.tally.uncounted
        if (
            uncounted
            and not requests.tally.completed + requests.tally.drained
            and not any(requests.tally.failures.values())
        ):
            what, count = max(uncounted.items(), key=lambda item: item[1])
            raise ScenarioError(
                f"{self._file}: nothing that the users did counts for the server at {subject} under "
                f"transport {self._transport}; most often ({count:,}): {what}"
            )

    def _refuse_other_transport(self) -> None:
        requests = self._requests
        if self._transport == "close" and requests.reused:
            raise ScenarioError(
                f"{self._file}: {requests.reused:,} of {requests.over_http:,} requests went over a "
                'connection that had carried another, but transport = "close" gives each its own; '
                'use self.client, or set transport = "keep-alive" in workload.toml'
            )
        if self._transport == "keep-alive" and requests.asked * 2 > requests.over_http:
            raise ScenarioError(
                f"{self._file}: {requests.asked:,} of {requests.over_http:,} requests said "
                '"Connection: close", but transport = "keep-alive" is about connections that stay; remove '
                'the header, or set transport = "close" in workload.toml'
            )
        mine = requests.fresh - requests.tally.closed_by_server
        if self._transport == "keep-alive" and mine * 2 > requests.over_http:
            raise ScenarioError(
                f"{self._file}: {requests.fresh:,} of {requests.over_http:,} requests opened a connection of "
                f"their own, and the server had closed {requests.tally.closed_by_server:,}, but transport = "
                '"keep-alive" is about connections that stay; keep one session in each user, or set '
                'transport = "close" in workload.toml'
            )
