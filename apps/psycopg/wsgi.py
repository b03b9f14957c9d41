"""psycopg 3 with a pool for threads, as WSGI: `app`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING

from psycopg_pool import ConnectionPool

from apps.plain.stored import POOL, URL, counter, entry, keys, to_json
from apps.psycopg.queries import COUNTER, FORTUNES, HTML, JSON, READ, UPDATE, page

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


@cache
def pool() -> ConnectionPool:
    """The pool of this process: opened by its first request, since some servers fork after the import."""
    return ConnectionPool(URL, min_size=POOL, max_size=POOL, kwargs={"autocommit": True}, open=True)


def row(key: int) -> bytes:
    """One row by its key."""
    with pool().connection() as connection:
        return to_json(entry(*connection.execute(READ, (key,)).fetchone()))


def rows(first: int) -> bytes:
    """Twenty rows, a query each."""
    with pool().connection() as connection:
        return to_json([entry(*connection.execute(READ, (key,)).fetchone()) for key in keys(first)])


def fortunes(_: int) -> bytes:
    """Every row of a table as a page."""
    with pool().connection() as connection:
        found = connection.execute(FORTUNES).fetchall()
    return page(found)


def update(number: int) -> bytes:
    """Reads a row, changes it and writes it."""
    with pool().connection() as connection, connection.transaction():
        key, _ = connection.execute(COUNTER, (counter(number),)).fetchone()
        connection.execute(UPDATE, (number, key))
    return to_json(entry(key, number))


ROUTES: dict[str, tuple[Callable[[int], bytes], str]] = {
    "/db/row/": (row, JSON),
    "/db/rows/": (rows, JSON),
    "/db/fortunes": (fortunes, HTML),
    "/db/update/": (update, JSON),
}


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers one request."""
    path = environ["PATH_INFO"]
    argument = path.rstrip("0123456789")
    found = ROUTES.get(argument)
    if found is None:
        start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "9")])
        return [b"Not Found"]
    answer, content_type = found
    body = answer(int(path[len(argument) :] or 0))
    start_response("200 OK", [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]
