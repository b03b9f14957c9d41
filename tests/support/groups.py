"""A group of the engine's connections to drive in the test's own process, and what failed in a slice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loadtests.engine.group import Group
from loadtests.engine.protocol import Target, Transport
from loadtests.engine.slot import Loop
from loadtests.engine.tally import SliceResult
from tests.support.scripted import BODY

WINDOW_S = 0.05


def target(port: int, transport: Transport = "keep-alive", timeout_s: float = 2.0) -> Target:
    return Target(
        "127.0.0.1",
        port,
        transport,
        path="/plaintext",
        headers={"content-type": "text/plain"},
        answer=BODY,
        timeout_s=timeout_s,
    )


@contextmanager
def group_of(goal: Target, connections: int) -> Iterator[Group]:
    loop = Loop()
    group = Group(goal, loop)
    for number in range(connections):
        group.open(str(number))
    try:
        yield group
    finally:
        group.close()
        loop.close()


def driven(group: Group, answers: int) -> tuple[int, set[str], dict[str, str]]:
    """Slices until so many answers came, however busy the machine is: right ones, failures, examples."""
    right, kinds, examples = 0, set[str](), dict[str, str]()
    while right < answers:
        group.prepare()
        result = group.run_slice(WINDOW_S)
        right += result.completed + result.drained
        kinds |= failures(result)
        examples.update(result.examples)
    return right, kinds, examples


def failures(result: SliceResult) -> set[str]:
    return {kind for kind, count in result.failures.items() if count}
