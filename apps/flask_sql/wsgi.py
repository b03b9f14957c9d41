"""SQLAlchemy's ORM in Flask, as both quickstarts write it: `app`."""

from __future__ import annotations

from flask import Flask, Response, render_template_string
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from apps.flask_sql.models import Counter, Entry, Fortune
from apps.plain.stored import ADDED, PAGE, POOL, URL, counter, entry, keys, to_json

app = Flask(__name__)
# It connects when it is first used, so that a process that forks has no connection to share.
engine = create_engine(URL.replace("postgresql:", "postgresql+psycopg:"), pool_size=POOL, max_overflow=0)


def answer(value: object) -> Response:
    """JSON without spaces and a line feed, which `jsonify` would add."""
    return Response(to_json(value), content_type="application/json")


@app.get("/db/row/<int:key>")
def row(key: int) -> Response:
    """One row by its key."""
    with Session(engine) as session:
        found = session.get_one(Entry, key)
        return answer(entry(found.id, found.value))


@app.get("/db/rows/<int:first>")
def rows(first: int) -> Response:
    """Twenty rows, a query each."""
    with Session(engine) as session:
        found = [session.get_one(Entry, key) for key in keys(first)]
        return answer([entry(each.id, each.value) for each in found])


@app.get("/db/fortunes")
def fortunes() -> Response:
    """Every row of a table as a page, with one more than are stored."""
    with Session(engine) as session:
        found = [(each.id, each.message) for each in session.scalars(select(Fortune))]
    page = render_template_string(PAGE, fortunes=sorted([*found, ADDED], key=lambda each: each[1]))
    return Response(page, content_type="text/html; charset=utf-8")


@app.post("/db/update/<int:number>")
def update(number: int) -> Response:
    """Reads a row, changes it and writes it."""
    with Session(engine) as session, session.begin():
        found = session.get_one(Counter, counter(number))
        found.value = number
        return answer(entry(found.id, number))
