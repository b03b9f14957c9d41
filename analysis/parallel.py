"""Applies a function to many items on all cores that this process may use."""

from __future__ import annotations

import gc
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_ITEMS_A_PROCESS = 3
"""With fewer, starting a process takes longer than it saves."""

_most = 0
_work: list[tuple[Callable[[Any], Any], Sequence[Any]]] = []


def forked_map(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The results of `function`, in the order of `items`.

    The processes are forks of this one: function and items may be whatever they are, and data that many items
    share, such as the histograms of a run, are in memory once. Only results are sent, so they must pickle.

    Raises:
        Exception: what `function` raised first.
        BrokenProcessPool: a process was killed.
    """
    processes = min(_cores(), len(items) // _ITEMS_A_PROCESS)
    if processes < 2 or _work:  # a fork of a fork has its core already
        return [function(item) for item in items]
    _work.append((function, items))
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of threads that hold a lock at a fork; those of BLAS and Arrow are idle here.
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            context = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(processes, mp_context=context, initializer=gc.freeze) as pool:
                return list(pool.map(_apply, range(len(items))))
    finally:
        _work.clear()


@contextmanager
def at_most(processes: int) -> Iterator[None]:
    """Keeps to so many processes, each of which takes some 60 MiB of its own; 0: as many as cores."""
    global _most  # noqa: PLW0603 - as process-wide as the processes that it limits
    before, _most = _most, processes
    try:
        yield
    finally:
        _most = before


def _apply(number: int) -> Any:
    function, items = _work[0]
    return function(items[number])


def _cores() -> int:
    """The cores that may be used; one on systems where a fork is not safe."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return min(cores, _most) if _most else cores
