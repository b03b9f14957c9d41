"""What each step between a server and an application means, in plain words, and where that is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatebench.explaining.trace import Step

HTTP_FORMAT = "ASGI, HTTP & WebSocket message format"
LIFESPAN = "ASGI, Lifespan protocol"

_EVENTS: Mapping[str, tuple[str, str]] = {
    "http.request": (
        "the request's body, or a piece of it; more_body says whether another follows",
        "Request - receive event",
    ),
    "http.disconnect": ("the client is gone, or the answer is complete", "Disconnect - receive event"),
    "http.response.start": (
        "status and headers; the server keeps them back until the first piece of the body",
        "Response Start - send event",
    ),
    "http.response.body": (
        "the body, or a piece of it, to be sent now; without more_body it is the last",
        "Response Body - send event",
    ),
    "websocket.connect": (
        "a client asks to open a WebSocket; the handshake waits for the answer",
        "Connect - receive event",
    ),
    "websocket.accept": ("yes: the server answers 101 Switching Protocols", "Accept - send event"),
    "websocket.receive": ("one whole message from the client, text or bytes", "Receive - receive event"),
    "websocket.send": ("one message to the client; the server frames it", "Send - send event"),
    "websocket.disconnect": ("the WebSocket is over, with its close code", "Disconnect - receive event"),
    "websocket.close": (
        "close it; before accept this refuses the handshake with 403",
        "Close - send event",
    ),
    "lifespan.startup": ("the server is about to serve: make ready", "Startup - receive event"),
    "lifespan.startup.complete": (
        "ready; only then should the server take requests",
        "Startup Complete - send event",
    ),
    "lifespan.startup.failed": ("not ready: the server should end", "Startup Failed - send event"),
    "lifespan.shutdown": ("the server has stopped serving: clean up", "Shutdown - receive event"),
    "lifespan.shutdown.complete": ("cleaned up: the server may end", "Shutdown Complete - send event"),
}


def caption(step: Step) -> str:
    """What a step means and, in brackets, the section that says so; empty for what speaks for itself."""
    if step.name in {"received", "sent"}:
        words, section = _EVENTS.get(str(step.details["event"].get("type")), ("", ""))
        return f"{words} ({section})" if words else "not an event of the specification"
    return _wsgi_caption(step.name, step.details)


def _wsgi_caption(name: str, details: Mapping[str, Any]) -> str:
    if name == "returned" and "kind" not in details:
        return "the application's coroutine has ended"
    if name == "closed":
        own = (
            "passed on to the application's"
            if details["own"]
            else "the application's has none, which is fine"
        )
        return f"the server is done with the iterable, whatever happened; {own} (Specification Details)"
    return {
        "start_response": "status and headers; kept back until the first piece that is not empty "
        "(The start_response() Callable)",
        "read": "the application reads the request's body (Input and Error Streams)",
        "write": "a piece of the body, the old way (The write() Callable)",
        "returned": "what the application returns: an iterable of bytes (Specification Details)",
        "piece": "one turn of the iterable: the server sends it before it asks on (Buffering and Streaming)",
        "exhausted": "no more pieces: the body is complete",
        "raised": "the application failed with an exception",
    }.get(name, "")
