"""What the lab's database holds, and what the routes that read it answer: every value follows from its key.

The lab fills the tables; an application only reads and updates them. The answers are made here from the same
functions, so that each is known to the last byte without a look into the database.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable

ROWS = 10_000
"""Rows of the table `entry`, whose keys are 1 to this."""
FACTOR, MODULUS = 7919, 10_007
"""Both are prime, and the modulus is over the number of rows: no two rows have the same value."""
COUNT, STEP = 20, 487
"""How many rows `/db/rows/{id}` answers, and how far apart their keys are; no two of them are the same."""
COUNTERS = 100
"""Rows of the table `counter`, whose keys are 1 to this and whose values start at 0."""
FORTUNES = (
    "A benchmark that cannot fail has measured nothing.",
    "An average is a number that no request has ever seen.",
    "If p99 < p50, look at the instrument first.",
    "Correlation is cheap & causation is dear.",
    "<b>Bold</b> claims need narrow intervals.",
    "測定は嘘をつかない。平均は嘘をつく。",
    "The fastest query is the one that is not asked.",
    "A cache is a bet that yesterday is like today.",
    "Every queue is long to the one who waits in it.",
    "Zwei Messungen, drei Meinungen: größer heißt nicht schneller.",
    "A retry is a second opinion from the same doctor.",
    "It was fast on the machine of whoever wrote it.",
)
"""Messages of the table `fortune`, with the keys 1, 2 and so on.

None has a quotation mark, which every template engine escapes in its own way.
"""
ADDED = (0, "This one was added while the request was answered.")
"""Key and message of the row that the application adds to those of the table."""


def value_of(key: int) -> int:
    """The value of a row of `entry`."""
    return key * FACTOR % MODULUS


def keys_of(first: int) -> tuple[int, ...]:
    """The keys of the rows that `/db/rows/{id}` answers, in their order."""
    return tuple(1 + (first - 1 + STEP * number) % ROWS for number in range(COUNT))


def counter_of(number: int) -> int:
    """The key of the row of `counter` that gets this number as its value."""
    return 1 + number % COUNTERS


def row(key: int) -> bytes:
    """The answer of `/db/row/{id}`."""
    return _json(_entry(key))


def rows(first: int) -> bytes:
    """The answer of `/db/rows/{id}`."""
    return _json([_entry(key) for key in keys_of(first)])


def updated(number: int) -> bytes:
    """The answer of `/db/update/{n}`."""
    return _json({"id": counter_of(number), "value": number})


def fortunes() -> bytes:
    """The page of `/db/fortunes`: every row and the one that is added, in the order of their messages."""
    listed = sorted([*enumerate(FORTUNES, start=1), ADDED], key=lambda each: each[1])
    lines = "".join(f"<tr><td>{key}</td><td>{html.escape(message)}</td></tr>" for key, message in listed)
    head = "<!DOCTYPE html><html><head><title>Fortunes</title></head>"
    return f"{head}<body><table><tr><th>id</th><th>message</th></tr>{lines}</table></body></html>".encode()


def statements() -> Iterable[str]:
    """The SQL that makes and fills the tables."""
    filled = "INSERT INTO {} SELECT id, {} FROM generate_series(1, {}) AS id"
    yield "CREATE TABLE entry (id integer PRIMARY KEY, value integer NOT NULL)"
    yield filled.format("entry", f"id * {FACTOR} % {MODULUS}", ROWS)
    # Room on each page, so that an update needs no new entry in the index, however often a row is updated.
    yield "CREATE TABLE counter (id integer PRIMARY KEY, value integer NOT NULL) WITH (fillfactor = 20)"
    yield filled.format("counter", "0", COUNTERS)
    yield "CREATE TABLE fortune (id integer PRIMARY KEY, message text NOT NULL)"
    for key, message in enumerate(FORTUNES, start=1):
        yield f"INSERT INTO fortune VALUES ({key}, '{message}')"  # noqa: S608 - constants without quotes
    yield "VACUUM ANALYZE"


def _entry(key: int) -> dict[str, int]:
    return {"id": key, "value": value_of(key)}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
