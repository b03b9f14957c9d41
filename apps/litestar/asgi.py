"""Litestar, as its documentation writes it: `app`."""

import asyncio

from litestar import Litestar, Response, get, post

from apps.plain.routes import PAGE, sha256_rounds


def text(body: str, content_type: str = "text/plain") -> Response[str]:
    """A text whose type has no charset, which Litestar would add."""
    return Response(body, media_type="text/plain", headers={"content-type": content_type})


@get("/")
async def page() -> Response[str]:
    """A page with one heading."""
    return text(PAGE, "text/html")


@get("/plaintext")
async def plaintext() -> Response[str]:
    """A short text."""
    return text("Hello, World!")


@get("/json")
async def small_json() -> dict[str, str]:
    """A small object."""
    return {"message": "Hello, World!"}


@get("/wait/{ms:int}")
async def wait(ms: int) -> Response[str]:
    """Answers after that many milliseconds."""
    await asyncio.sleep(ms / 1000)
    return text(f"waited {ms} ms")


@get("/cpu/{rounds:int}")
async def cpu(rounds: int) -> Response[str]:
    """Computes."""
    return text(sha256_rounds(rounds))


@post("/echo", status_code=200, media_type="application/octet-stream", request_max_body_size=16 * 1024 * 1024)
async def echo(body: bytes) -> bytes:
    """The request's body back; the contract's limit, in place of 10 MB."""
    return body


app = Litestar([page, plaintext, small_json, wait, cpu, echo])
