"""psycopg 3 with an asynchronous pool, as ASGI: `app`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from psycopg_pool import AsyncConnectionPool

from apps.plain.stored import POOL, URL, counter, entry, keys, to_json
from apps.psycopg.queries import COUNTER, FORTUNES, HTML, JSON, READ, UPDATE, page


@cache
def made() -> AsyncConnectionPool:
    """The pool of this process, whose loop is known only once a request is there."""
    return AsyncConnectionPool(URL, min_size=POOL, max_size=POOL, kwargs={"autocommit": True}, open=False)


async def pool() -> AsyncConnectionPool:
    """The same, open; to open it twice does nothing."""
    if made().closed:
        await made().open()
    return made()


async def row(key: int) -> bytes:
    """One row by its key."""
    async with (await pool()).connection() as connection:
        return to_json(entry(*await (await connection.execute(READ, (key,))).fetchone()))


async def rows(first: int) -> bytes:
    """Twenty rows, a query each."""
    async with (await pool()).connection() as connection:
        return to_json(
            [entry(*await (await connection.execute(READ, (key,))).fetchone()) for key in keys(first)]
        )


async def fortunes(_: int) -> bytes:
    """Every row of a table as a page."""
    async with (await pool()).connection() as connection:
        found = await (await connection.execute(FORTUNES)).fetchall()
    return page(found)


async def update(number: int) -> bytes:
    """Reads a row, changes it and writes it."""
    async with (await pool()).connection() as connection, connection.transaction():
        key, _ = await (await connection.execute(COUNTER, (counter(number),))).fetchone()
        await connection.execute(UPDATE, (number, key))
    return to_json(entry(key, number))


ROUTES: dict[str, tuple[Callable[[int], Awaitable[bytes]], str]] = {
    "/db/row/": (row, JSON),
    "/db/rows/": (rows, JSON),
    "/db/fortunes": (fortunes, HTML),
    "/db/update/": (update, JSON),
}


async def app(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Answers one request."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        if made.cache_info().currsize:
            await made().close()
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
