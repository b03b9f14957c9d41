"""SQLAlchemy's asynchronous ORM in Starlette, as its documentation writes it: `app`."""

from __future__ import annotations

from jinja2 import Environment
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from apps.plain.stored import ADDED, PAGE, POOL, URL, counter, entry, keys, to_json
from apps.starlette_sql.models import Counter, Entry, Fortune

# It connects when it is first used, so that a process that forks has no connection to share.
engine = create_async_engine(
    URL.replace("postgresql:", "postgresql+asyncpg:"), pool_size=POOL, max_overflow=0
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
template = Environment(autoescape=True).from_string(PAGE)


def answer(value: object) -> Response:
    """JSON without spaces."""
    return Response(to_json(value), media_type="application/json")


async def row(request: Request) -> Response:
    """One row by its key."""
    async with sessions() as session:
        found = await session.get_one(Entry, request.path_params["key"])
        return answer(entry(found.id, found.value))


async def rows(request: Request) -> Response:
    """Twenty rows, a query each."""
    async with sessions() as session:
        found = [await session.get_one(Entry, key) for key in keys(request.path_params["key"])]
        return answer([entry(each.id, each.value) for each in found])


async def fortunes(request: Request) -> Response:
    """Every row of a table as a page, with one more than are stored."""
    async with sessions() as session:
        found = [(each.id, each.message) for each in await session.scalars(select(Fortune))]
    page = template.render(fortunes=sorted([*found, ADDED], key=lambda each: each[1]))
    return Response(page, media_type="text/html")


async def update(request: Request) -> Response:
    """Reads a row, changes it and writes it."""
    number = request.path_params["key"]
    async with sessions() as session, session.begin():
        found = await session.get_one(Counter, counter(number))
        found.value = number
        return answer(entry(found.id, number))


app = Starlette(
    routes=[
        Route("/db/row/{key:int}", row),
        Route("/db/rows/{key:int}", rows),
        Route("/db/fortunes", fortunes),
        Route("/db/update/{key:int}", update, methods=["POST"]),
    ]
)
