"""`gatebench explain`: live requests to real servers."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest
from rich.console import Console

from gatebench.explain.command import choose, look
from gatebench.explain.explanation import Explanation, frames
from gatebench.machine.processes import SCRATCH_PREFIX, Owner, marked_processes
from gatebench.run.run import choose_cores
from gatebench.words.errors import GatebenchError
from gatebench.words.paths import CACHE
from tests.support.subjects import REGISTRY
from tests.support.traced import names, printed


def seen_live(interface: str, subject: str, path: str) -> Explanation:
    choice = choose(REGISTRY, interface, subject, path)
    seen = look(choice, cores=choose_cores(), cache=CACHE, progress=Console(file=sys.stderr))
    assert not [pid for pid, owner in marked_processes().items() if owner == Owner.this()]
    scratch = Path(tempfile.gettempdir()).glob(f"{SCRATCH_PREFIX}{Owner.this()}-*")
    assert not list(scratch)
    return seen


def test_a_wsgi_request_is_seen_from_the_first_byte_to_the_last() -> None:
    seen = seen_live("wsgi", "gunicorn-sync", "/plaintext")
    assert seen.passages[0].data.startswith(b"GET /plaintext HTTP/1.1\r\n")
    assert names(seen.steps) == ["called", "start_response", "returned", "piece", "exhausted", "closed"]
    assert b"".join(each.data for each in seen.passages).endswith(b"Hello, World!")
    moments_s = [seen.passages[0].at_s, *(step.at_s for step in seen.steps[:2]), seen.passages[-1].at_s]
    assert moments_s == sorted(moments_s)
    assert json.loads(json.dumps(seen.to_json()))["wire"][0]["from"] == "client"


def test_a_websocket_is_seen_as_events_and_frames() -> None:
    seen = seen_live("asgi", "uvicorn", "/ws/echo")
    events = [step.details["event"]["type"] for step in seen.steps if "event" in step.details]
    assert events == [
        "websocket.connect",
        "websocket.accept",
        "websocket.receive",
        "websocket.send",
        "websocket.disconnect",
    ]
    sent = [frame.kind for each in seen.passages[1:] if each.sent for frame in frames(each.data)]
    assert sent == ["text", "close"]
    assert seen.upgraded
    assert names(seen.lifespan)[0] == "called"
    text = printed(seen)
    assert "Before any request" in text
    assert "After the last request" in text


def test_a_websocket_over_wsgi_is_an_ordinary_request_that_is_refused() -> None:
    seen = seen_live("wsgi", "gunicorn-sync", "/ws/echo")
    assert seen.steps[0].details["handed"]["HTTP_UPGRADE"]["value"] == "websocket"
    assert b"".join(each.data for each in seen.passages[1:]).startswith(b"HTTP/1.1 404 ")
    assert not seen.upgraded
    assert "No WebSocket: PEP 3333" in printed(seen)
    assert seen.conversation.ended == "Then the server closed the connection."


def test_a_server_that_does_not_start_is_told_with_its_last_words() -> None:
    with pytest.raises(GatebenchError, match="no luck today"):
        seen_live("asgi", "faulty-exits", "/")
