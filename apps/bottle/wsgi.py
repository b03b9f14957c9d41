"""Bottle, as its tutorial writes it: `app`."""

from __future__ import annotations

import json
import time

from bottle import Bottle, request, response

from apps.plain.routes import PAGE, sha256_rounds

app = Bottle()


@app.get("/")
def page() -> str:
    """A page with one heading; Bottle's own type for it has a charset."""
    response.content_type = "text/html"
    return PAGE


@app.get("/plaintext")
def plaintext() -> str:
    """A short text."""
    response.content_type = "text/plain"
    return "Hello, World!"


@app.get("/json")
def small_json() -> str:
    """A small object, without the spaces that Bottle would write."""
    response.content_type = "application/json"
    return json.dumps({"message": "Hello, World!"}, separators=(",", ":"))


@app.get("/wait/<ms:int>")
def wait(ms: int) -> str:
    """Answers after that many milliseconds."""
    time.sleep(ms / 1000)
    response.content_type = "text/plain"
    return f"waited {ms} ms"


@app.get("/cpu/<rounds:int>")
def cpu(rounds: int) -> str:
    """Computes."""
    response.content_type = "text/plain"
    return sha256_rounds(rounds)


@app.post("/echo")
def echo() -> bytes:
    """The request's body back."""
    response.content_type = "application/octet-stream"
    return request.body.read()
