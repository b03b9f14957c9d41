"""A small process that outlives the lab: when the lab is gone, however it ended, it cleans up after it.

It is started with the lab's mark and a pipe whose other end only the lab holds; the pipe's end is the sign.
"""

from __future__ import annotations

import contextlib
import importlib
import signal
import subprocess
import sys
from collections.abc import Iterator

from gatebench.machine.processes import Owner, sweep

ENGINE = "gatebench.runners.docker.engine"
"""The module that can remove containers, by a function `sweep_containers`."""


@contextlib.contextmanager
def watched(owner: Owner, *, containers: bool = False) -> Iterator[int]:
    """Runs the block with a watch process beside it, whose ID it yields, and sweeps up at its end.

    Args:
        owner: the lab.
        containers: whether it has some, which the watch process then removes if the lab cannot.
    """
    command = [
        sys.executable,
        "-m",
        "gatebench.runners.session",
        str(owner),
        *(["--containers"] * containers),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        try:
            yield process.pid
        finally:
            sweep(also=owner)
            if process.stdin is not None:
                process.stdin.close()
            process.wait()


def main() -> None:
    """Waits for the lab's end, then sweeps."""
    owner = Owner.parse(sys.argv[1])
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.stdin.buffer.read()
    sweep(also=owner)
    if "--containers" in sys.argv[2:]:
        # By name: the SDK is slow to import, and most labs have no containers.
        importlib.import_module(ENGINE).sweep_containers(owner)


if __name__ == "__main__":
    main()
