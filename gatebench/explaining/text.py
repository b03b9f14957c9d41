"""What came over the wire or from a server, as text that is safe to print. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
    """A value of a trace (`gatebench.explaining.trace.shown`) as Python would write it, in one line."""
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
