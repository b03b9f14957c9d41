"""Falcon, as its tutorial writes it with asyncio: `app`."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import falcon
import falcon.asgi
import falcon.media
from falcon.asgi import Request, Response

from apps.plain.routes import PAGE, sha256_rounds


class Page:
    """A page with one heading; Falcon's own type for it has a charset, as that for a text."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answers GET."""
        resp.content_type = "text/html"
        resp.text = PAGE


class Plaintext:
    """A short text."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answers GET."""
        resp.content_type = "text/plain"
        resp.text = "Hello, World!"


class SmallJson:
    """A small object."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answers GET."""
        resp.media = {"message": "Hello, World!"}


class Wait:
    """Answers after so many milliseconds."""

    async def on_get(self, req: Request, resp: Response, ms: int) -> None:
        """Answers GET."""
        await asyncio.sleep(ms / 1000)
        resp.content_type = "text/plain"
        resp.text = f"waited {ms} ms"


class Cpu:
    """Computes."""

    async def on_get(self, req: Request, resp: Response, rounds: int) -> None:
        """Answers GET."""
        resp.content_type = "text/plain"
        resp.text = sha256_rounds(rounds)


class Echo:
    """The request's body back."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Answers POST."""
        resp.content_type = "application/octet-stream"
        resp.data = await req.stream.read()


app = falcon.asgi.App()
compact = falcon.media.JSONHandler(dumps=partial(json.dumps, separators=(",", ":")))
app.resp_options.media_handlers["application/json"] = compact
app.add_route("/", Page())
app.add_route("/plaintext", Plaintext())
app.add_route("/json", SmallJson())
app.add_route("/wait/{ms:int}", Wait())
app.add_route("/cpu/{rounds:int}", Cpu())
app.add_route("/echo", Echo())
