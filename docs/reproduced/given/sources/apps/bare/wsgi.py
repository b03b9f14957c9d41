"""The bare application as WSGI (PEP 3333): `app`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.plain.wsgi import app as plain

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

_PIECES = (b"Hello, World!",)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers `GET /plaintext` with constants, and everything else as the plain application does."""
    if environ.get("PATH_INFO") == "/plaintext" and environ["REQUEST_METHOD"] == "GET":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
        return _PIECES
    return plain(environ, start_response)
