"""`python -m tests.support.small_server.bare`: its `GET /plaintext` has a known time, cost or fault.

It tells the truth about itself on its standard output, which a run keeps under `logs/`: each planted fault as
`planted UNIX_US WHAT` when it comes, and with `--tell`, when the server ends, each answer as `served
ARRIVED_UNIX_US SERVICE_US CPU_US`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
import threading

from tests.support.small_server.bare_loop import BACKLOG, FAULTS, BareLoop, Behaviour, Served
from tests.support.small_server.connection import answer_bytes, serve_connection
from tests.support.small_server.faults import Faults
from tests.support.small_server.interfaces import Asked, Given, asgi, load


def main() -> None:
    """Reads the command line and serves until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--app", required=True, help="an ASGI application")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="of each answer, without CPU")
    parser.add_argument("--spin-us", type=float, default=0.0, help="CPU time of each answer")
    parser.add_argument("--freeze-s", type=float, default=0.0, help="stand still for so long")
    parser.add_argument("--freeze-every-s", type=float, default=10.0, help="in every so many seconds")
    parser.add_argument("--plant", choices=FAULTS, help="a fault in single answers")
    parser.add_argument("--first", type=int, default=0, help="number of the first of these answers")
    parser.add_argument("--every", type=int, default=0, help="and one more after so many")
    parser.add_argument("--tell", action="store_true", help="at the end, say what each answer took")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    listener = socket.create_server(("127.0.0.1", options.port), backlog=BACKLOG)
    rest = Rest(load(options.app))
    served: list[Served] | None = [] if options.tell else None
    loop = BareLoop(
        listener,
        answers=rest.plaintext(),
        behaviour=Behaviour(
            delay_ns=round(options.delay_ms * 1e6),
            spin_ns=round(options.spin_us * 1e3),
            freeze_ns=round(options.freeze_s * 1e9),
            freeze_every_ns=round(options.freeze_every_s * 1e9),
            fault=options.plant,
            first=options.first,
            every=options.every,
        ),
        hand_over=rest.hand_over,
        served=served,
    )
    try:
        loop.run()
    finally:
        for each in served or ():
            sys.stdout.write(f"served {each.arrived_unix_us} {each.service_us} {each.cpu_us}\n")
        sys.stdout.flush()


class Rest:
    """Serves whatever the bare loop does not, honestly, in a thread that idles under load."""

    def __init__(self, app: object) -> None:
        self._app = app
        self._ask = asgi(app)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def plaintext(self) -> tuple[bytes, bytes]:
        """The application's answer to `GET /plaintext`, on a kept connection and on another's end."""

        async def ask() -> Given:
            return await self._ask(Asked("GET", "/plaintext", {}))

        given = asyncio.run_coroutine_threadsafe(ask(), self._loop).result()
        return answer_bytes(given, "GET", last=False), answer_bytes(given, "GET", last=True)

    def hand_over(self, connection: socket.socket, received: bytes) -> None:
        """Takes a connection with a request that has been read from it, in whole or in part."""
        asyncio.run_coroutine_threadsafe(self._adopt(connection, received), self._loop)

    async def _adopt(self, connection: socket.socket, received: bytes) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await serve_connection(reader, writer, self._ask, self._app, Faults())

        reader = asyncio.StreamReader()
        reader.feed_data(received)
        protocol = asyncio.StreamReaderProtocol(reader, handle)
        await self._loop.connect_accepted_socket(lambda: protocol, connection)


if __name__ == "__main__":
    main()
