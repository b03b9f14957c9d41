"""FastAPI with `def` endpoints, as its tutorial writes it: `app`."""

import time
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response

from apps.plain.routes import PAGE, sha256_rounds

app = FastAPI()


def text(body: str, content_type: str = "text/plain") -> Response:
    """A text whose type has no charset, which a `PlainTextResponse` would add."""
    return Response(body, headers={"content-type": content_type})


@app.get("/")
def page() -> Response:
    """A page with one heading."""
    return text(PAGE, "text/html")


@app.get("/plaintext")
def plaintext() -> Response:
    """A short text."""
    return text("Hello, World!")


@app.get("/json")
def small_json() -> dict[str, str]:
    """A small object."""
    return {"message": "Hello, World!"}


@app.get("/wait/{ms}")
def wait(ms: int) -> Response:
    """Answers after that many milliseconds."""
    time.sleep(ms / 1000)
    return text(f"waited {ms} ms")


@app.get("/cpu/{rounds}")
def cpu(rounds: int) -> Response:
    """Computes."""
    return text(sha256_rounds(rounds))


async def body_of(request: Request) -> bytes:
    """The request's body, which a `def` endpoint cannot wait for itself."""
    return await request.body()


@app.post("/echo")
def echo(body: Annotated[bytes, Depends(body_of)]) -> Response:
    """The request's body back."""
    return Response(body, media_type="application/octet-stream")
