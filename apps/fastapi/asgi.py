"""FastAPI with `async def` endpoints, as its tutorial writes it: `app`."""

import asyncio

from fastapi import FastAPI, Request, Response

from apps.plain.routes import PAGE, sha256_rounds

app = FastAPI()


def text(body: str, content_type: str = "text/plain") -> Response:
    """A text whose type has no charset, which a `PlainTextResponse` would add."""
    return Response(body, headers={"content-type": content_type})


@app.get("/")
async def page() -> Response:
    """A page with one heading."""
    return text(PAGE, "text/html")


@app.get("/plaintext")
async def plaintext() -> Response:
    """A short text."""
    return text("Hello, World!")


@app.get("/json")
async def small_json() -> dict[str, str]:
    """A small object."""
    return {"message": "Hello, World!"}


@app.get("/wait/{ms}")
async def wait(ms: int) -> Response:
    """Answers after that many milliseconds."""
    await asyncio.sleep(ms / 1000)
    return text(f"waited {ms} ms")


@app.get("/cpu/{rounds}")
async def cpu(rounds: int) -> Response:
    """Computes."""
    return text(sha256_rounds(rounds))


@app.post("/echo")
async def echo(request: Request) -> Response:
    """The request's body back."""
    return Response(await request.body(), media_type="application/octet-stream")
