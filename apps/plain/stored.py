"""What applications with a database share: where it is, how large their pools are, and what is no query."""

from __future__ import annotations

import json
import os

URL = os.environ.get("DATABASE_URL", "")
"""Set by the lab: `postgresql://user:password@host:port/name`."""
POOL = 8
"""Connections of each worker process, the same for every application: opened when first needed, and kept."""
ROWS = 10_000
COUNT, STEP = 20, 487
COUNTERS = 100
ADDED = (0, "This one was added while the request was answered.")
PAGE = (
    "<!DOCTYPE html><html><head><title>Fortunes</title></head><body><table>"
    "<tr><th>id</th><th>message</th></tr>"
    "{% for fortune in fortunes %}<tr><td>{{ fortune.0 }}</td><td>{{ fortune.1 }}</td></tr>{% endfor %}"
    "</table></body></html>"
)
"""The template of the fortunes' page, as Django and Jinja read it; each of them is a key and a message."""


def keys(first: int) -> list[int]:
    """The keys of the rows that `/db/rows/{id}` answers, in their order."""
    return [1 + (first - 1 + STEP * number) % ROWS for number in range(COUNT)]


def counter(number: int) -> int:
    """The key of the row that gets this number as its value."""
    return 1 + number % COUNTERS


def entry(key: int, value: int) -> dict[str, int]:
    """A row as JSON has it."""
    return {"id": key, "value": value}


def to_json(value: object) -> bytes:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()
