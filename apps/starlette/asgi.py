"""Starlette, as its documentation writes it: `app`."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from apps.plain.routes import PAGE, sha256_rounds


def text(body: str, content_type: str = "text/plain") -> Response:
    """A text whose type has no charset, which a `PlainTextResponse` would add."""
    return Response(body, headers={"content-type": content_type})


async def page(request: Request) -> Response:
    """A page with one heading."""
    return text(PAGE, "text/html")


async def plaintext(request: Request) -> Response:
    """A short text."""
    return text("Hello, World!")


async def small_json(request: Request) -> Response:
    """A small object."""
    return JSONResponse({"message": "Hello, World!"})


async def wait(request: Request) -> Response:
    """Answers after that many milliseconds."""
    ms = request.path_params["ms"]
    await asyncio.sleep(ms / 1000)
    return text(f"waited {ms} ms")


async def cpu(request: Request) -> Response:
    """Computes."""
    return text(sha256_rounds(request.path_params["rounds"]))


async def echo(request: Request) -> Response:
    """The request's body back."""
    return Response(await request.body(), media_type="application/octet-stream")


app = Starlette(
    routes=[
        Route("/", page),
        Route("/plaintext", plaintext),
        Route("/json", small_json),
        Route("/wait/{ms:int}", wait),
        Route("/cpu/{rounds:int}", cpu),
        Route("/echo", echo, methods=["POST"]),
    ]
)
