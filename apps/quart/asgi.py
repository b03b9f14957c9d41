"""Quart, as its quickstart writes it: `app`."""

from __future__ import annotations

import asyncio
import json

from quart import Quart, Response, request

from apps.plain.routes import PAGE, sha256_rounds

app = Quart(__name__)


def plain(body: str | bytes, content_type: str = "text/plain") -> Response:
    """An answer with that type alone: Quart would add a charset to a text's."""
    return Response(body, content_type=content_type)


@app.get("/")
async def page() -> Response:
    """A page with one heading."""
    return plain(PAGE, "text/html")


@app.get("/plaintext")
async def plaintext() -> Response:
    """A short text."""
    return plain("Hello, World!")


@app.get("/json")
async def small_json() -> Response:
    """A small object; `jsonify` would end it with a line feed."""
    return plain(json.dumps({"message": "Hello, World!"}, separators=(",", ":")), "application/json")


@app.get("/wait/<int:ms>")
async def wait(ms: int) -> Response:
    """Answers after that many milliseconds."""
    await asyncio.sleep(ms / 1000)
    return plain(f"waited {ms} ms")


@app.get("/cpu/<int:rounds>")
async def cpu(rounds: int) -> Response:
    """Computes."""
    return plain(sha256_rounds(rounds))


@app.post("/echo")
async def echo() -> Response:
    """The request's body back."""
    return plain(await request.get_data(), "application/octet-stream")
