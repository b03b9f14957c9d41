"""The plain application as WSGI (PEP 3333): `app`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from apps.plain.interface import describe
from apps.plain.routes import (
    BAD_REQUEST,
    ECHO_LIMIT_BYTES,
    NO_PIECES,
    PIECE_BYTES,
    TOO_LARGE,
    Answer,
    Own,
    content_length,
    find,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import InputStream, StartResponse, WSGIEnvironment

_STATUS_LINES = {
    200: "200 OK",
    400: "400 Bad Request",
    404: "404 Not Found",
    405: "405 Method Not Allowed",
    413: "413 Content Too Large",
}


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers one request as `apps/contract.toml` has it."""
    method = environ["REQUEST_METHOD"]
    # PEP 3333 lets a server leave PATH_INFO out, or empty, where the request is for the root.
    found = find(method, environ.get("PATH_INFO") or "/")
    if found is Own.ECHO:
        found = _echo(environ)
    elif found is Own.INTERFACE:
        found = describe("wsgi", environ)
    if found.wait_s:
        time.sleep(found.wait_s)
    # A new list each time: PEP 3333 lets the server change it.
    start_response(_STATUS_LINES[found.status], list(found.headers))
    return NO_PIECES if method == "HEAD" else found.pieces


def _echo(environ: WSGIEnvironment) -> Answer:
    text = environ.get("CONTENT_LENGTH")
    if text:
        length = content_length(text)
        if length is None:
            return BAD_REQUEST
        if length > ECHO_LIMIT_BYTES:
            return TOO_LARGE
    elif environ.get("wsgi.input_terminated"):
        length = None
    else:
        length = 0  # without a length or a promised end, a read could wait forever
    try:
        body = _read(environ["wsgi.input"], ECHO_LIMIT_BYTES + 1 if length is None else length)
    except OSError:
        return BAD_REQUEST  # the client went away in the middle; the server drops this answer
    if len(body) > ECHO_LIMIT_BYTES:
        return TOO_LARGE
    if length is not None and len(body) < length:
        return BAD_REQUEST
    return whole(body, "application/octet-stream")


def _read(source: InputStream, most: int) -> bytes:
    pieces = []
    left = most
    while left > 0 and (piece := source.read(min(left, PIECE_BYTES))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
