"""Which worker holds how many of a cell's connections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from locust import User
from locust.dispatch import UsersDispatcher
from locust.runners import WorkerNode

from loadtests.engine.protocol import Message
from loadtests.swarm.users import FleetUser


def shares(cell: Message, workers: Sequence[str]) -> dict[str, int]:
    """Worker → connections, as even as can be.

    A broadcast is one connection's, and its moment is known to the engine that sent it; an ordinary Locust
    file's users are one process's. Both go to the first worker whole.
    """
    connections: int = cell["connections"]
    if cell["target"] is None or cell["target"]["exchange"] == "broadcast":
        return {worker: connections if worker == workers[0] else 0 for worker in workers}
    each, more = divmod(connections, len(workers))
    return {worker: each + (number < more) for number, worker in enumerate(workers)}


class SharesDispatcher(UsersDispatcher):
    """Has Locust start on each worker the users that their class names for it in its `shares`.

    Locust's own dispatcher deals out the users of all classes in turn: with two classes and two workers, each
    class is on one of them. It also deals anew when a worker is lost, in the middle of a measurement.
    """

    def __init__(self, worker_nodes: list[WorkerNode], user_classes: list[type[User]]) -> None:
        super().__init__(worker_nodes, user_classes)
        by_class: dict[str, Mapping[str, int]] = {
            each.__name__: each.shares for each in user_classes if issubclass(each, FleetUser)
        }
        workers = {worker for counts in by_class.values() for worker in counts}
        self._dealt = {
            worker: {name: counts[worker] for name, counts in by_class.items()} for worker in workers
        }
        self._left: Iterator[dict[str, dict[str, int]]] = iter(())

    @property
    def dispatch_in_progress(self) -> bool:
        """Always: Locust begins no new dispatch then because workers come or go."""
        return True

    def new_dispatch(self, *_: Any, **__: Any) -> None:
        """All users at once, always the same."""
        self._left = iter([self._dealt])

    def __next__(self) -> dict[str, dict[str, int]]:
        return next(self._left)

    def add_worker(self, worker_node: WorkerNode) -> None:
        """A worker that comes now gets nothing."""

    def remove_worker(self, worker_node: WorkerNode) -> None:
        """Nobody takes over from a lost worker."""
