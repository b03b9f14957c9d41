"""Whether a server is up: what came of asking `GET /`, and for how long a wrong answer is asked for again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gatebench.contract import Contract, load_contract
from gatebench.contract_checks import differences
from gatebench.errors import ServerFailure
from gatebench.wire import HttpProbe, NotHttpError, WireError

CLOSE = (("Connection", "close"),)
RETRY_S = 0.02
ATTEMPT_S = 2.0
STARTING = frozenset({502, 503, 504})
"""With these a server, or a proxy in front of it, says that what is behind it is not up yet."""

Outcome = Literal["right", "wrong", "starting", "silent"]

PATIENCE_S: dict[Outcome, float] = {"wrong": 2.0, "starting": 10.0}
"""How long the same is heard, without anything else in between, until it is taken to stay so.

Some servers answer with an error until their workers are up; one that still does then is up, and differs.
"""

LEAST_TIMES = 3
"""However long a look takes, so often the same is heard before it is taken to stay so."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of asking a server for `GET /`.

    Attributes:
        outcome: `right`: the contract's answer; `wrong`: another one, or bytes that are no HTTP; `starting`:
            the server says that it is not up yet; `silent`: no connection, or no whole answer in time.
        text: what was wrong, for a person; empty where it is right.
    """

    outcome: Outcome
    text: str = ""


class Listening:
    """What one server has been heard to say, in the order of time."""

    def __init__(self) -> None:
        self._outcome: Outcome = "silent"
        self._since_s = 0.0
        self._times = 0
        self._answer = ""
        self._last = "nothing was tried"

    def hear(self, heard: Heard, now_s: float) -> None:
        """Takes note of what came of asking at that moment, of `time.monotonic`."""
        if heard.outcome != self._outcome:
            self._outcome, self._since_s, self._times = heard.outcome, now_s, 0
        self._times += 1
        self._last = heard.text
        if heard.outcome != "silent":
            self._answer = heard.text

    def is_settled(self, now_s: float) -> bool:
        """Whether the server is up and has answered wrongly for so long that waiting will not change it."""
        patience_s = PATIENCE_S.get(self._outcome)
        long_enough = patience_s is not None and now_s - self._since_s >= patience_s
        return long_enough and self._times >= LEAST_TIMES

    @property
    def reason(self) -> str:
        """Why it is not ready: what came last and, where that is no answer, the last answer before it."""
        if self._outcome == "silent" and self._answer:
            return f"{self._last}; before that, {self._answer}"
        return self._last


def ask_once(host: str, port: int, contract: Contract) -> Heard:
    """What comes of asking for `GET /` now; a server has `ATTEMPT_S` for it."""
    try:
        with HttpProbe(host, port, ATTEMPT_S) as probe:
            received = probe.ask("GET", "/", headers=CLOSE)
    except NotHttpError as error:
        return Heard("wrong", f"GET /: {error}")
    except WireError as error:
        return Heard("silent", f"GET /: {error}")
    found = differences("GET /", "GET", contract.answer("GET", "/"), received)
    if not found:
        return Heard("right")
    return Heard("starting" if received.status in STARTING else "wrong", "\n".join(map(str, found)))


def ask_until_right(host: str, port: int, contract: Contract, within_s: float) -> Heard:
    """Asks for `GET /` again and again until it is right; what came last.

    Args:
        host: where the server will listen.
        port: where the server will listen.
        contract: what is held to.
        within_s: after so many seconds no other attempt begins; the last one is not cut short.
    """
    end_s = time.monotonic() + within_s
    while (heard := ask_once(host, port, contract)).outcome != "right" and time.monotonic() < end_s:
        time.sleep(RETRY_S)
    return heard


def wait_until_accepting(
    host: str,
    port: int,
    *,
    deadline_s: float,
    alive: Callable[[], bool],
    contract: Contract | None = None,
) -> None:
    """Return as soon as `GET /` gets the answer of the contract: ready means correct.

    Args:
        host: where the server will listen.
        port: where the server will listen.
        deadline_s: how long that may take, in seconds.
        alive: whether the server's process still runs.
        contract: what is held to; the project's own by default.

    Raises:
        ServerFailure: with the code `start`: the process ended, or the time is up; with `contract`: it goes
            on to answer something else. It says what came last.
    """
    contract = contract or load_contract()
    end_s = time.monotonic() + deadline_s
    listening = Listening()
    while True:
        heard = ask_once(host, port, contract)
        if heard.outcome == "right":
            return
        now_s = time.monotonic()
        listening.hear(heard, now_s)
        if not alive():
            raise ServerFailure("start", f"the server ended before it was ready; last: {listening.reason}")
        if listening.is_settled(now_s):
            raise ServerFailure("contract", listening.reason)
        if now_s >= end_s:
            why = f"the server was not ready within {deadline_s:g} s; last: {listening.reason}"
            raise ServerFailure("start", why)
        time.sleep(RETRY_S)
