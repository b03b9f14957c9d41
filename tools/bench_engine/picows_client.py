"""A WebSocket echo client with picows on uvloop: one message in flight a connection, every echo compared.

It keeps no latencies, which spares it work that the engine does. It prints one JSON line: `requests` and
`failures` of its whole life, and `counted`, `counted_s` and `cpu_s` of the time between start and deadline.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import picows
import uvloop


class Echo(picows.WSListener):
    """One connection: sends a numbered message, compares what comes back, and sends the next."""

    def __init__(self, number: int, message_bytes: int) -> None:
        self._sequence = number << 40
        self._message_bytes = message_bytes
        self._sent = b""
        self._transport: picows.WSTransport | None = None
        self.echoes = 0
        self.failure = ""
        self.running = False

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Keeps the connection."""
        self._transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Compares an echo."""
        payload = frame.get_payload_as_bytes()
        if frame.msg_type != picows.WSMsgType.TEXT or payload != self._sent:
            self.failure = f"{payload!r} came back for {self._sent!r}"
            transport.disconnect()
            return
        self.echoes += 1
        if self.running:
            self.send()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002 - picows' signature
        """A connection that ends while it is driven is a failure."""
        if self.running and not self.failure:
            self.failure = "the server closed the connection"

    def send(self) -> None:
        """Sends the next message."""
        self._sequence += 1
        self._sent = (b"%016x" % self._sequence).ljust(self._message_bytes, b"=")
        if self._transport is not None:
            self._transport.send(picows.WSMsgType.TEXT, self._sent)

    def close(self) -> None:
        """Hangs up."""
        if self._transport is not None:
            self._transport.disconnect()


async def drive(url: str, *, connections: int, message_bytes: int, seconds: float) -> dict[str, object]:
    """Echoes for `seconds` over that many connections; returns what is printed."""
    echoes = [Echo(number, message_bytes) for number in range(connections)]
    for echo in echoes:
        await picows.ws_connect(lambda echo=echo: echo, url)
    started_s, cpu_s = time.perf_counter(), time.process_time()
    for echo in echoes:
        echo.running = True
        echo.send()
    await asyncio.sleep(seconds)
    counted = sum(echo.echoes for echo in echoes)
    counted_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    for echo in echoes:
        echo.running = False
    await asyncio.sleep(0.05)  # the echoes in flight
    for echo in echoes:
        echo.close()
    return {
        "requests": sum(echo.echoes for echo in echoes),
        "failures": [echo.failure for echo in echoes if echo.failure][:5],
        "counted": counted,
        "counted_s": counted_s,
        "cpu_s": cpu_s,
    }


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--message-bytes", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        said = runner.run(
            drive(
                arguments.url,
                connections=arguments.connections,
                message_bytes=arguments.message_bytes,
                seconds=arguments.seconds,
            )
        )
    print(json.dumps(said))


if __name__ == "__main__":
    main()
