"""`python -m tests.support.small_server`: serves an application, as `tests/support/servers` ask for it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import time
from typing import NoReturn

from tests.support.small_server.connection import serve_connection
from tests.support.small_server.faults import Faults
from tests.support.small_server.interfaces import asgi, load, wsgi


def main() -> None:
    """Reads the command line and serves until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--app", required=True)
    parser.add_argument("--die-after", type=int, default=0)
    parser.add_argument("--wrong-every", type=int, default=0)
    parser.add_argument("--wrong-path", action="append", default=[])
    parser.add_argument("--hang-up-every", type=int, default=0)
    parser.add_argument("--worker", action="store_true", help="serve from a child, replaced when it ends")
    parser.add_argument("--workers", type=int, default=0, help="serve from so many children")
    parser.add_argument("--ignore-stop", action="store_true", help="do not end on SIGTERM")
    parser.add_argument("--silent", action="store_true", help="listen and never answer")
    parser.add_argument("--exit-at-once", metavar="WORDS", help="say that and end with status 3")
    options = parser.parse_args()
    if options.exit_at_once is not None:
        print(options.exit_at_once, flush=True)
        sys.exit(3)
    if options.ignore_stop:
        signal.signal(signal.SIGTERM, lambda *_: print("asked to stop, and ignored it", flush=True))
    listener = socket.create_server(("127.0.0.1", options.port), backlog=512)
    if options.silent:
        print("listening, and silent", flush=True)
        time.sleep(3600)
    if options.worker:
        _fork_workers()
    if options.workers:
        _fork(options.workers)
    faults = Faults(
        options.die_after, options.wrong_every, frozenset(options.wrong_path), options.hang_up_every
    )
    asyncio.run(_serve(listener, options.app, faults))


def _fork_workers() -> None:
    """Returns in a worker process; its parent stays in here and replaces workers that end."""
    while (worker := os.fork()) != 0:
        signal.signal(signal.SIGTERM, lambda *_, worker=worker: _end_with(worker))
        os.waitpid(worker, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _fork(count: int) -> None:
    """Returns in each of so many worker processes; their parent stays in here until SIGTERM."""
    workers = []
    for _ in range(count):
        if (worker := os.fork()) == 0:
            return
        workers.append(worker)
    signal.sigwait([signal.SIGTERM])
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
    os._exit(0)


def _end_with(worker: int) -> NoReturn:
    os.kill(worker, signal.SIGTERM)
    os._exit(0)


async def _serve(listener: socket.socket, application: str, faults: Faults) -> None:
    app = load(application)
    is_asgi = application.partition(":")[0].endswith(".asgi")
    ask = asgi(app) if is_asgi else wsgi(app, listener.getsockname()[1])

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_connection(reader, writer, ask, app if is_asgi else None, faults)

    server = await asyncio.start_server(handle, sock=listener)
    await server.serve_forever()


if __name__ == "__main__":
    main()
