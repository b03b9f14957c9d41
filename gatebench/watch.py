"""A small process that outlives the lab: when the lab is gone, however it ended, it cleans up after it.

It is started with the lab's mark and a pipe whose other end only the lab holds; the pipe's end is the sign.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator

from gatebench.processes import Owner, sweep


@contextlib.contextmanager
def watched(owner: Owner, *, containers: bool = False) -> Iterator[int]:
    """Runs the block with a watch process beside it, whose ID it yields, and sweeps up at its end.

    Args:
        owner: the lab.
        containers: whether it has some, which the watch process then removes if the lab cannot.
    """
    command = [sys.executable, "-m", "gatebench.watch", str(owner), *(["--containers"] * containers)]
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
        _remove_containers(owner)


def _remove_containers(owner: Owner | None) -> None:
    # The SDK is slow to import, and most labs have no containers.
    from gatebench.engine import Engine, EngineError  # noqa: PLC0415
    from gatebench.engine_address import EngineAbsentError  # noqa: PLC0415

    with contextlib.suppress(EngineAbsentError, EngineError):  # the next start with an engine removes them
        Engine.connect().remove_left_over(also=owner)


if __name__ == "__main__":
    main()
