"""Prints an explanation for a person to read, in the order in which things happen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gatebench.explain.exchange import Passage
from gatebench.explain.explanation import TIMES, Explanation, frames, has_ended
from gatebench.explain.trace import Step
from gatebench.words.interface_keys import (
    handed_text,
    in_order,
    meaning,
    need,
    printable,
    shortened,
    value_text,
    wire_lines,
)

HTTP_FORMAT = "ASGI, HTTP & WebSocket message format"
LIFESPAN = "ASGI, Lifespan protocol"

_EVENTS: Mapping[str, tuple[str, str]] = {
    "http.request": (
        "the request's body, or a piece of it; more_body says whether another follows",
        "Request - receive event",
    ),
    "http.disconnect": ("the client is gone, or the answer is complete", "Disconnect - receive event"),
    "http.response.start": (
        "status and headers; the server keeps them back until the first piece of the body",
        "Response Start - send event",
    ),
    "http.response.body": (
        "the body, or a piece of it, to be sent now; without more_body it is the last",
        "Response Body - send event",
    ),
    "websocket.connect": (
        "a client asks to open a WebSocket; the handshake waits for the answer",
        "Connect - receive event",
    ),
    "websocket.accept": ("yes: the server answers 101 Switching Protocols", "Accept - send event"),
    "websocket.receive": ("one whole message from the client, text or bytes", "Receive - receive event"),
    "websocket.send": ("one message to the client; the server frames it", "Send - send event"),
    "websocket.disconnect": ("the WebSocket is over, with its close code", "Disconnect - receive event"),
    "websocket.close": (
        "close it; before accept this refuses the handshake with 403",
        "Close - send event",
    ),
    "lifespan.startup": ("the server is about to serve: make ready", "Startup - receive event"),
    "lifespan.startup.complete": (
        "ready; only then should the server take requests",
        "Startup Complete - send event",
    ),
    "lifespan.startup.failed": ("not ready: the server should end", "Startup Failed - send event"),
    "lifespan.shutdown": ("the server has stopped serving: clean up", "Shutdown - receive event"),
    "lifespan.shutdown.complete": ("cleaned up: the server may end", "Shutdown Complete - send event"),
}


def caption(step: Step) -> str:
    """What a step means and, in brackets, the section that says so; empty for what speaks for itself."""
    if step.name in {"received", "sent"}:
        words, section = _EVENTS.get(str(step.details["event"].get("type")), ("", ""))
        return f"{words} ({section})" if words else "not an event of the specification"
    return _wsgi_caption(step.name, step.details)


def _wsgi_caption(name: str, details: Mapping[str, Any]) -> str:
    if name == "returned" and "kind" not in details:
        return "the application's coroutine has ended"
    if name == "closed":
        own = (
            "passed on to the application's"
            if details["own"]
            else "the application's has none, which is fine"
        )
        return f"the server is done with the iterable, whatever happened; {own} (Specification Details)"
    return {
        "start_response": "status and headers; kept back until the first piece that is not empty "
        "(The start_response() Callable)",
        "read": "the application reads the request's body (Input and Error Streams)",
        "write": "a piece of the body, the old way (The write() Callable)",
        "returned": "what the application returns: an iterable of bytes (Specification Details)",
        "piece": "one turn of the iterable: the server sends it before it asks on (Buffering and Streaming)",
        "exhausted": "no more pieces: the body is complete",
        "raised": "the application failed with an exception",
    }.get(name, "")


WIDTH = 100
MOST_LINES = 24
FIRST, LAST = 8, 4
"""Of many steps of one request, those that are shown."""

_ASGI_GROUPS = {
    "required": "required",
    "optional": "optional",
    "own": "the server's own",
}
_NO_WEBSOCKET = {
    "wsgi": "No WebSocket: PEP 3333 knows one request and one answer. What asks for an upgrade reaches the "
    "application as an ordinary GET, and it has no way to take the connection over.",
    "asgi": "No WebSocket was opened.",
}
_WSGI_GROUPS = ("CGI variables", "HTTP_*, the headers", "wsgi.*", "the server's own")


def show(explanation: Explanation, console: Console) -> None:
    """Prints the whole of it, at most 100 columns wide."""
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    for part in _parts(explanation):
        console.print(part)


def _parts(explanation: Explanation) -> Iterator[Any]:
    yield Text(
        f"{explanation.subject}: {explanation.target} over {explanation.interface.upper()}", style="bold"
    )
    yield _note(" ".join(explanation.command))
    yield _note(f"Times in ms are {TIMES}.")
    headings = _Headings()
    if explanation.interface == "asgi":
        yield from _startup(explanation, headings)
    sent = [each for each in explanation.passages if each.sent and each.protocol == "http"]
    yield headings.next("The bytes that arrive", "what the client writes into its TCP connection (RFC 9112)")
    yield _wire(sent, "→")
    if explanation.steps:
        yield from _call(explanation, headings)
    else:
        yield headings.next("The application is not called", "the server answers by itself")
    if explanation.upgraded:
        yield headings.next(
            "Events and frames, in order",
            f"{HTTP_FORMAT}; frames: RFC 6455, section 5.2. A client masks its frames, a server does not",
        )
        yield _timeline(explanation, [*explanation.steps[1:], *_answers(explanation)])
    else:
        yield headings.next("The bytes that leave", "what the server makes of that (RFC 9112)")
        yield _wire(_answers(explanation), "←")
    yield _note(explanation.conversation.ended)
    if explanation.wants_upgrade and not explanation.upgraded:
        yield _note(_NO_WEBSOCKET[explanation.interface])
    yield from _shutdown(explanation, headings)


class _Headings:
    """Numbers the parts."""

    def __init__(self) -> None:
        self._number = 0

    def next(self, title: str, words: str) -> Group:
        self._number += 1
        return Group(
            Text(f"\n{self._number}  {title}", style="bold"), _indented(Text(words, style="italic dim"))
        )


def _startup(explanation: Explanation, headings: _Headings) -> Iterator[Any]:
    if not explanation.lifespan:
        yield headings.next("No lifespan", "this server does not offer it; applications must do without")
        return
    began = _split(explanation.lifespan)[0]
    yield headings.next("Before any request", f"the lifespan, once in each process ({LIFESPAN})")
    yield _scope_line(began[0])
    yield _timeline(explanation, began[1:], timed=False)


def _shutdown(explanation: Explanation, headings: _Headings) -> Iterator[Any]:
    if ended := _split(explanation.lifespan)[1]:
        yield headings.next("After the last request", f"the end of the lifespan ({LIFESPAN})")
        yield _timeline(explanation, ended, timed=False)


def _split(lifespan: Sequence[Step]) -> tuple[Sequence[Step], Sequence[Step]]:
    """What came before the server was told to end, and what after."""
    for index, step in enumerate(lifespan):
        if step.details.get("event", {}).get("type") == "lifespan.shutdown":
            return lifespan[:index], lifespan[index:]
    return lifespan, ()


def _scope_line(called: Step) -> Padding:
    pairs = {key: handed_text(each["type"], each["value"]) for key, each in called.details["handed"].items()}
    return _note("scope: " + ", ".join(f"{key} {value}" for key, value in pairs.items()))


def _call(explanation: Explanation, headings: _Headings) -> Iterator[Any]:
    called, *rest = explanation.steps
    at, pid = f"{explanation.at_ms(called):.2f} ms", called.details["pid"]
    handed: Mapping[str, Any] = called.details["handed"]
    if explanation.interface == "wsgi":
        thread = printable(called.details["thread"])
        yield headings.next(
            "What the server hands over: environ", 'a dict and start_response (PEP 3333, "environ Variables")'
        )
        yield _note(f"{at}: app(environ, start_response) is called in process {pid}, thread {thread}")
        families = {title: [key for key in handed if _family(key) == title] for title in _WSGI_GROUPS}
        yield _keys(explanation, handed, families)
        yield headings.next("What the application answers", "PEP 3333; the section of each step in brackets")
        yield _timeline(explanation, rest)
        if not has_ended(explanation.steps):
            yield _note("The server did not call close() on the iterable, though PEP 3333 has it do so.")
        return
    kind = "Websocket" if handed["type"]["value"] == "websocket" else "HTTP"
    yield headings.next(
        "What the server hands over: scope",
        f"a dict, receive and send ({HTTP_FORMAT}, {kind} Connection Scope)",
    )
    loop = printable(called.details["loop"])
    yield _note(f"{at}: await app(scope, receive, send) begins in process {pid}, on the loop {loop}")
    groups = {
        title: [key for key in handed if need("asgi", key) == each] for each, title in _ASGI_GROUPS.items()
    }
    yield _keys(explanation, handed, groups)
    if not explanation.upgraded:
        yield headings.next("The events between them", f"{HTTP_FORMAT}; the section of each in brackets")
        yield _timeline(explanation, rest)


def _family(key: str) -> str:
    if key.startswith("HTTP_"):
        return _WSGI_GROUPS[1]
    if need("wsgi", key) == "own":
        return _WSGI_GROUPS[3]
    return _WSGI_GROUPS[2] if key.startswith("wsgi.") else _WSGI_GROUPS[0]


def _keys(
    explanation: Explanation, handed: Mapping[str, Any], groups: Mapping[str, Sequence[str]]
) -> Padding:
    """What was handed over, group by group."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for width in (28, 33, 31):
        table.add_column(max_width=width, overflow="fold")
    for title, keys in groups.items():
        if keys:
            table.add_row(Text(f"{title}:", style="bold cyan"))
        for key in in_order(explanation.interface, keys):
            table.add_row(
                Text(f"  {printable(key)}"),
                Text("\n".join(_value_lines(key, handed[key]))),
                Text(meaning(explanation.interface, key), style="dim"),
            )
    return _indented(table)


def _value_lines(key: str, told: Mapping[str, Any]) -> list[str]:
    """A value that was handed over; of a scope's headers, a line each."""
    if key == "headers" and isinstance(told["value"], list):
        return [shortened(printable(": ".join(map(str, pair)))) for pair in told["value"]]
    return [shortened(printable(handed_text(str(told["type"]), told["value"])))]


def _timeline(explanation: Explanation, moments: Iterable[Step | Passage], *, timed: bool = True) -> Padding:
    """Steps and passages by time: when, which way, what, and what that means."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, style="cyan")
    table.add_column(overflow="fold")
    ordered = sorted(moments, key=lambda each: each.at_s)
    left_out, before = len(ordered) - FIRST - LAST, ""
    for index, moment in enumerate(ordered):
        if left_out > 0 and index == FIRST:
            table.add_row("", "", Text(f"… {left_out:,} more …", style="dim"))
        if left_out > 0 and FIRST <= index < FIRST + left_out:
            continue
        at = f"{explanation.at_ms(moment):.2f}" if timed else ""
        way, what, words = _of_passage(moment) if isinstance(moment, Passage) else _of_step(moment)
        told = f"\n{words}" if words and words != before else ""
        before = words
        table.add_row(at, way, Text.assemble(what, (told, "dim")))
    return _indented(table)


def _of_step(step: Step) -> tuple[str, str, str]:
    details = step.details
    if step.name in {"received", "sent"}:
        values = {key: value for key, value in details["event"].items() if key != "type"}
        shown = ", ".join(
            f"{key} {_pairs_text(value) if key == 'headers' else value_text(value)}"
            for key, value in values.items()
        )
        way = "server → app" if step.name == "received" else "app → server"
        return way, printable(f"{details['event'].get('type')}  {shown}".rstrip()), caption(step)
    way = "server → app" if step.name == "closed" else "app → server"
    return way, printable(_wsgi_text(step)), caption(step)


def _wsgi_text(step: Step) -> str:
    """The step as code; ASGI has `returned` and `raised` too."""
    details = step.details
    match step.name:
        case "start_response":
            text = f"start_response({details['status']!r}, {_pairs_text(details['headers'])})"
        case "read":
            text = f"wsgi.input.read({details['asked']}) gives {value_text(details['data'])}"
        case "write":
            text = f"write({value_text(details['data'])})"
        case "returned":
            text = _returned(details)
        case "piece":
            text = f"yield {value_text(details['data'])}"
        case "exhausted":
            text = "the end of the iterable"
        case "closed":
            text = "close()"
        case other:
            text = other
    return text


def _pairs_text(pairs: Sequence[Sequence[Any]]) -> str:
    """Headers, which come as pairs of text or of bytes."""
    return "[" + ", ".join(f"({', '.join(map(value_text, pair))})" for pair in pairs) + "]"


def _returned(details: Mapping[str, Any]) -> str:
    if "kind" not in details:
        return "return"
    return f"return a {details['kind']}" + (
        f" of {details['length']}" if details["length"] is not None else ""
    )


def _of_passage(passage: Passage) -> tuple[str, str, str]:
    way = "client → server" if passage.sent else "server → client"
    found = list(frames(passage.data)) if passage.protocol == "websocket" else []
    if not found:
        return way, "\n".join(wire_lines(passage.data)[:MOST_LINES]), ""
    whats, words = [], []
    for frame in found:
        code = frame.close_code
        payload = f"code {code}" if code is not None else shortened(repr(frame.payload))
        whats.append(
            f"{frame.kind} frame  {frame.header.hex(' ')} + {frame.length} bytes: {printable(payload)}"
        )
        words.append(
            f"{'final' if frame.final else 'more follow'}, {'masked' if frame.masked else 'not masked'}, "
            f"{len(frame.header)} bytes before the payload"
        )
    return way, "\n".join(whats), "\n".join(words)


def _answers(explanation: Explanation) -> list[Passage]:
    """What came from the server and, on a WebSocket, the frames of both."""
    return [each for each in explanation.passages if not each.sent or each.protocol == "websocket"]


def _wire(passages: Sequence[Passage], arrow: str) -> Padding:
    lines = wire_lines(b"".join(each.data for each in passages))
    shown = [f"{arrow} {shortened(line)}" for line in lines[:MOST_LINES]]
    if len(lines) > MOST_LINES:
        shown.append(f"  … {len(lines) - MOST_LINES:,} more lines")
    total = sum(len(each.data) for each in passages)
    shown.append(f"  {total:,} bytes")
    text = Text("\n".join(shown), style="green", overflow="fold")
    text.highlight_regex(r"(\\r)?\\n", "dim")
    return _indented(text)


def _note(text: str) -> Padding:
    return _indented(Text(printable(text), style="dim"))


def _indented(what: Table | Text) -> Padding:
    return Padding(what, (0, 0, 0, 3), expand=False)
