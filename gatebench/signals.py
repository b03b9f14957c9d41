"""Turns Ctrl-C, SIGTERM and SIGHUP into one orderly interruption."""

from __future__ import annotations

import signal
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_once() -> None:
    """From now on the first such signal raises KeyboardInterrupt and the later ones are ignored.

    What follows the first is bounded clean-up, which a second signal would only leave half done.
    """
    for number in STOPPING:
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
