"""The throughput estimator: whole turns of all connections; filling and draining bias no kind of server."""

from __future__ import annotations

from collections.abc import Sequence


def whole_turns(
    completed_ns: Sequence[int], *, in_window: int, connections: int, window_ns: int
) -> tuple[int, int]:
    """The answers to count, and the time they took.

    A turn is as many answers as there are connections. Counting answers at the end of the window would lose
    the work on requests that are still in flight: none at a server that serves one request at a time, but
    half of the last turn, on the average, at one that moves all of them forward together. Therefore the count
    is the number of whole turns nearest to what the window held, and the time is that of the last answer
    counted, in the window or while draining. The server is busy during all of it, whichever way it works.

    Args:
        completed_ns: when each correct answer was complete, since the first send, in order; drained ones too.
        in_window: how many of them were complete within the window.
        connections: requests in flight.
        window_ns: length of the window.

    Returns:
        Answers and nanoseconds. Where failures left too few answers for the turn, those of the window.
    """
    if not connections:
        return in_window, window_ns
    turns = max(1, (2 * in_window + connections) // (2 * connections))
    counted = turns * connections
    if counted > len(completed_ns):
        return in_window, window_ns
    return counted, max(1, completed_ns[counted - 1])
