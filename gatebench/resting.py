"""Looks at servers that nobody asks anything: whether all of their workers have begun, and who works then.

A server answers as soon as its first worker does. If the load's connections were opened then, they would all
be with that worker for as long as they stay, and the others would have none. What a worker does before it can
serve, such as its imports, takes CPU time, in every server alike.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from gatebench.runner import Around, Instance

LOOK_S = 0.3
IDLE_SHARE = 0.02
"""Of one core. Servers that wait for requests used under 0.01: they look after their workers now and then."""
TIMEOUT_S = 15.0


def at_rest(before_s: float | None, after_s: float | None, look_s: float = LOOK_S) -> bool:
    """Whether a server did nothing between two readings of its CPU time.

    Where the time shrank, or could not be read, a process of the server has just ended.
    """
    return before_s is not None and after_s is not None and 0 <= after_s - before_s <= IDLE_SHARE * look_s


def await_rest(instances: Sequence[Instance], timeout_s: float = TIMEOUT_S) -> list[Instance]:
    """Waits until all of the servers are at rest at once; returns those that are not in time.

    All at once, since a worker that has to wait for a core would seem to rest. One whose CPU time cannot be
    read is not returned.
    """
    deadline = time.monotonic() + timeout_s
    before = [_used_s(each) for each in instances]
    while instances:
        time.sleep(LOOK_S)
        after = [_used_s(each) for each in instances]
        readings = list(zip(instances, before, after, strict=True))
        busy = [each for each, was_s, is_s in readings if not at_rest(was_s, is_s)]
        if not busy:
            break
        if time.monotonic() >= deadline:
            unread = {id(each) for each, was_s, is_s in readings if was_s is None and is_s is None}
            return [each for each in busy if id(each) not in unread]
        before = after
    return []


def at_work(instances: Sequence[Instance], look_s: float = LOOK_S) -> dict[str, float]:
    """The servers that work although nobody asks them anything: subject → share of a core that it uses.

    What one does so is taken from every other server on its core. Two looks, of which the lower counts: a
    server may still be busy with what it was asked last.
    """
    shares: dict[str, float] = {}
    looked = list(instances)
    for _ in range(2):
        began = time.monotonic()
        before = [each.counters(Around()).cpu_s for each in looked]
        time.sleep(look_s)
        after = [each.counters(Around()).cpu_s for each in looked]
        lasted_s = time.monotonic() - began
        used = zip(looked, before, after, strict=True)
        shares = {
            each.subject.id: min((is_s - was_s) / lasted_s, shares.get(each.subject.id, 1.0))
            for each, was_s, is_s in used
            if was_s is not None and is_s is not None and not at_rest(was_s, is_s, lasted_s)
        }
        looked = [each for each in looked if each.subject.id in shares]
        if not looked:
            break
    return shares


def in_words(subject: str, share: float) -> str:
    """That a server works at rest, what that does, and what helps."""
    return (
        f"{subject} works although nobody asks it anything: it takes {share:.0%} of a core from every server "
        "beside it. Slices in which that shows are left out, or the figure is refused (shared-core); measure "
        "with --exclusive, or that server apart from the others"
    )


def _used_s(instance: Instance) -> float | None:
    """CPU seconds of all the server's processes, those that it has just started included."""
    instance.settle()
    return instance.counters(Around()).cpu_s
