"""What a server runs on beside its own code: event loops, HTTP/1.1 parsers and WebSocket libraries."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

Loop = Literal["asyncio", "uvloop", "rloop", "zuvloop", "trio"]
Parser = Literal["own", "h11", "httptools", "zttp", "gunicorn_h1c", "twisted"]
SocketLibrary = Literal["own", "websockets", "wsproto", "autobahn", "picows"]

LOOPS: tuple[Loop, ...] = ("asyncio", "uvloop", "rloop", "zuvloop", "trio")
PARSERS: tuple[Parser, ...] = ("h11", "httptools", "zttp", "gunicorn_h1c", "twisted")
SOCKET_LIBRARIES: tuple[SocketLibrary, ...] = ("websockets", "wsproto", "autobahn", "picows")
OWN = "own"
"""What a server has that loads none of these libraries: a parser of its own, such as those in C or Rust."""
SHARED_OBJECTS = ("gunicorn_h1c", "httptools", "picows", "rloop", "uvloop", "websockets", "zttp", "zuvloop")
"""Packages whose compiled modules the kernel shows among what a process has mapped."""
NOT_OBSERVED = "not observed"


def loop_of(class_name: str) -> str:
    """The library that a loop's class is of: `uvloop.Loop` → uvloop; empty for no class."""
    return class_name.partition(".")[0]


def libraries_in_words(loop: str, http: str, websocket: str) -> str:
    """`uvloop, httptools, websockets`, or `asyncio, own parser`: what is known of the three."""
    parser = "own parser" if http == OWN else http
    return ", ".join(filter(None, (loop, parser, "" if websocket == OWN else websocket)))


def kept_to(libraries: Collection[str], known: Collection[str]) -> str:
    """Those of the known libraries that are loaded: `h11`, or `h11 and httptools`; `own` for none of them."""
    return " and ".join(name for name in sorted(known) if name in libraries) or OWN
