"""asyncpg with its pool, as ASGI: `app`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import asyncpg
from jinja2 import Environment

from apps.plain.stored import ADDED, PAGE, POOL, URL, counter, entry, keys, to_json

READ = "SELECT id, value FROM entry WHERE id = $1"
COUNTER = "SELECT id, value FROM counter WHERE id = $1"
UPDATE = "UPDATE counter SET value = $1 WHERE id = $2"

template = Environment(autoescape=True).from_string(PAGE)


@cache
def pool() -> asyncio.Future[asyncpg.Pool]:
    """The pool of this process, opened by its first request, whose loop is the one that it works in."""
    return asyncio.ensure_future(asyncpg.create_pool(URL, min_size=POOL, max_size=POOL))


async def row(key: int) -> bytes:
    """One row by its key."""
    async with (await pool()).acquire() as connection:
        return to_json(entry(*await connection.fetchrow(READ, key)))


async def rows(first: int) -> bytes:
    """Twenty rows, a query each."""
    async with (await pool()).acquire() as connection:
        return to_json([entry(*await connection.fetchrow(READ, key)) for key in keys(first)])


async def fortunes(_: int) -> bytes:
    """Every row of a table as a page, with one more than are stored."""
    async with (await pool()).acquire() as connection:
        found = await connection.fetch("SELECT id, message FROM fortune")
    return template.render(fortunes=sorted([*map(tuple, found), ADDED], key=lambda each: each[1])).encode()


async def update(number: int) -> bytes:
    """Reads a row, changes it and writes it."""
    async with (await pool()).acquire() as connection, connection.transaction():
        key, _ = await connection.fetchrow(COUNTER, counter(number))
        await connection.execute(UPDATE, number, key)
    return to_json(entry(key, number))


JSON = "application/json"
ROUTES: dict[str, tuple[Callable[[int], Awaitable[bytes]], str]] = {
    "/db/row/": (row, JSON),
    "/db/rows/": (rows, JSON),
    "/db/fortunes": (fortunes, "text/html; charset=utf-8"),
    "/db/update/": (update, JSON),
}


async def app(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Answers one request."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    argument = path.rstrip("0123456789")
    status, content_type, body = 404, "text/plain", b"Not Found"
    if found := ROUTES.get(argument):
        answer, content_type = found
        status, body = 200, await answer(int(path[len(argument) :] or 0))
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
