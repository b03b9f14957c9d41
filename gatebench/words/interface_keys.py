"""What the specifications say of each key of a WSGI environ and an ASGI scope, for `explain` and the matrix.

Sources: PEP 3333, "environ Variables"; RFC 3875 (CGI), section 4.1; the ASGI specification, "HTTP & WebSocket
ASGI Message Format", "HTTP Connection Scope" and "Websocket Connection Scope".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from gatebench.words.model import Interface

Need = Literal["required", "unless empty", "optional", "header", "own"]
NEEDS: tuple[Need, ...] = ("required", "unless empty", "optional", "header", "own")

_WSGI: Mapping[Need, Mapping[str, str]] = {
    "required": {
        "REQUEST_METHOD": "the HTTP method",
        "SERVER_NAME": "host for making a URL; HTTP_HOST goes first",
        "SERVER_PORT": "port for making a URL, as a string",
        "SERVER_PROTOCOL": "HTTP version of the request",
        "wsgi.version": "(1, 0), of WSGI itself",
        "wsgi.url_scheme": "http or https",
        "wsgi.input": "a file to read the request's body from",
        "wsgi.errors": "a text file for the server's error log",
        "wsgi.multithread": "may threads of this process call at once?",
        "wsgi.multiprocess": "may other processes call at once?",
        "wsgi.run_once": "is this the process's only call (CGI)?",
    },
    "unless empty": {
        "SCRIPT_NAME": "the path at which the application is mounted",
        "PATH_INFO": "the rest of the path, percent-decoded",
        "QUERY_STRING": "what follows the ? in the target",
        "CONTENT_TYPE": "the request's Content-Type",
        "CONTENT_LENGTH": "the request's Content-Length, as a string",
    },
    "optional": {
        "wsgi.file_wrapper": "lets the server send a file its own way",
        "AUTH_TYPE": "how the server authenticated the user",
        "GATEWAY_INTERFACE": "version of CGI",
        "PATH_TRANSLATED": "PATH_INFO as a path of the file system",
        "REMOTE_ADDR": "the client's address",
        "REMOTE_HOST": "the client's host name",
        "REMOTE_IDENT": "the client's user after RFC 1413",
        "REMOTE_USER": "the user that the server authenticated",
        "SERVER_SOFTWARE": "name and version of the server",
    },
}
_ASGI: Mapping[Need, Mapping[str, str]] = {
    "required": {
        "type": "http, websocket or lifespan",
        "asgi": "versions of ASGI",
        'asgi["version"]': "version of ASGI; 3 is one coroutine",
        "http_version": "1.0, 1.1 or 2",
        "method": "the HTTP method, in capitals",
        "path": "the path, percent-decoded",
        "query_string": "what follows the ? in the target, as bytes",
        "headers": "pairs of bytes, names in lower case",
    },
    "unless empty": {},
    "optional": {
        'asgi["spec_version"]': "version of the HTTP and WebSocket format; 2.0 where absent",
        "scheme": "http or https, ws or wss; http or ws where absent",
        "raw_path": "the path as bytes, as it was sent",
        "root_path": "the path at which the application is mounted",
        "client": "the client's address and port",
        "server": "the server's address and port, or its Unix socket",
        "subprotocols": "WebSocket subprotocols that the client offers",
        "state": "a copy of what lifespan.startup left there",
        "extensions": "what more the server can do",
    },
}
_KNOWN: Mapping[Interface, Mapping[Need, Mapping[str, str]]] = {"wsgi": _WSGI, "asgi": _ASGI}


def need(interface: Interface, key: str) -> Need:
    """What the interface's specification says of a key."""
    for found, keys in _KNOWN[interface].items():
        if key in keys:
            return found
    if interface == "wsgi":
        return "header" if key.startswith("HTTP_") else "own"
    return "optional" if key.startswith("extensions[") else "own"


def meaning(interface: Interface, key: str) -> str:
    """What a key holds, in a few words; empty where the specification does not know it."""
    return next((keys[key] for keys in _KNOWN[interface].values() if key in keys), "")


def in_order(interface: Interface, keys: Iterable[str]) -> list[str]:
    """Sorted as the specification lists them; others after them, by name."""
    listed = [key for known in _KNOWN[interface].values() for key in known]
    return sorted(keys, key=lambda key: (listed.index(key) if key in listed else len(listed), key))


SHOWN_CHARACTERS = 160


def printable(text: str) -> str:
    """The text with everything that a terminal would act on, or could not show, written as an escape."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def shortened(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """The text, or its beginning where it is long."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def wire_text(data: bytes) -> str:
    """Bytes as text; what is not ASCII as escapes."""
    return data.decode("ascii", "backslashreplace")


def wire_lines(data: bytes) -> list[str]:
    r"""Bytes as lines that show their ends, such as `Host: 127.0.0.1\r\n`."""
    lines = wire_text(data).split("\n")
    ends = ["\n"] * (len(lines) - 1) + [""]
    return [printable(line + end) for line, end in zip(lines, ends, strict=True) if line + end]


def value_text(value: Any) -> str:
    """A value of a trace (`gatebench.explain.trace.shown`) as Python would write it, in one line."""
    if isinstance(value, Mapping) and set(value) == {"bytes", "latin1"}:
        text, length = repr(str(value["latin1"]).encode("latin-1")), int(value["bytes"])
        return text if length <= len(value["latin1"]) else f"{text}… ({length:,} bytes)"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {value_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(value_text(item) for item in value) + "]"
    return repr(value)


def handed_text(kind: str, value: object) -> str:
    """A value that a server handed over (`GET /interface`), as Python would write it, in one line.

    Bytes come decoded as Latin-1, and an object as the name of its type.
    """
    if value == kind:
        return f"<{kind}>"
    if kind == "bytes" and isinstance(value, str):
        return repr(value.encode("latin-1", "replace"))
    if kind == "tuple" and isinstance(value, list):
        return f"({', '.join(map(repr, value))})"
    return repr(value)
