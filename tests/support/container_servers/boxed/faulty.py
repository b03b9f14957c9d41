"""The application behind a wrapper that does one thing wrong under load."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

COUNTED = "/plaintext"
GOES_WRONG_AT = 50
"""Over what verification asks for, and under what a warm-up does."""
PIECE_BYTES = 64 << 20
PIECES = 32
"""2 GiB: twice a container's limit, and bounded where there is none."""
LAST_WORDS = "planted fault: this server ends now"
STATUS = 7

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def eat_memory() -> None:
    """Fills it until the kernel ends this process."""
    print("planted fault: this process takes all the memory it gets", flush=True)
    _ = [b"x" * PIECE_BYTES for _ in range(PIECES)]


def end() -> None:
    """Ends this process with a status of its own."""
    print(LAST_WORDS, flush=True)
    os._exit(STATUS)


def be_killed() -> None:
    """Ends this process as the kernel or a person would."""
    os.kill(os.getpid(), signal.SIGKILL)


FAULTS = {"memory": eat_memory, "ends": end, "killed": be_killed}


def make(name: str, fault: str) -> Wsgi:
    """The application `module:name`, whose process goes wrong at one request of many."""
    module, _, attribute = name.partition(":")
    application: Wsgi = getattr(importlib.import_module(module), attribute)
    count = 0

    def wrapped(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        nonlocal count
        count += environ["PATH_INFO"] == COUNTED
        if count == GOES_WRONG_AT:
            FAULTS[fault]()
        return application(environ, start_response)

    return wrapped


if __name__ == "__main__":
    print("serving", flush=True)
    # Only the image has it.
    importlib.import_module("waitress").serve(make(sys.argv[2], sys.argv[3]), listen=sys.argv[1])
