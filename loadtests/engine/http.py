"""HTTP/1.1 as the engine speaks it: the full parser, known heads, large answers, and one connection slot."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import h11

from loadtests.engine.protocol import Target
from loadtests.engine.slot import Slot, clock_ns, open_connection

if TYPE_CHECKING:
    from loadtests.engine.group import Group


HEAD_LIMIT_BYTES = 128 * 1024
"""What may come before the body, informational answers (`100 Continue`) included."""

QUOTED_BYTES = 120
"""How much of a wrong answer a failure quotes."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the full parser says of one answer.

    Attributes:
        failure: a kind of `loadtests.engine.tally.FAILURES`, or None for a correct answer.
        detail: what was wrong, for a person.
        reusable: whether the server keeps the connection open for another request.
        until_eof: whether only the end of the connection marked the end of the body.
        chunked: whether the body came in chunks.
        head: the bytes before the body of a correct answer, the blank line included; with the request they
            fix how the body is framed.
    """

    failure: str | None = None
    detail: str = ""
    reusable: bool = True
    until_eof: bool = False
    chunked: bool = False
    head: bytes = b""


def _failed(kind: str, detail: str) -> Verdict:
    return Verdict(kind, detail, reusable=False)


def _abbreviated(data: bytes, limit: int = QUOTED_BYTES) -> str:
    return repr(data[:limit]) + (f"... ({len(data)} bytes)" if len(data) > limit else "")


class AnswerReader:
    """Parses one answer that arrives in any number of pieces.

    Call `feed` with each piece (`b""` for the end of the connection) until it returns a verdict. The kind of
    failure depends on the bytes alone, not on how they were cut, with one exception: surplus bytes are
    seen only where they come with the end of the answer. What is kept is bounded: the body is compared as it
    comes, and the first wrong byte ends the answer.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._expected_headers: Mapping[str, str] = target.headers or {}
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT_BYTES)
        self._connection.send(
            h11.Request(
                method=target.method,
                target=target.path,
                headers=[("Host", "x"), *([("Connection", "close")] if target.transport == "close" else [])],
            )
        )
        self._connection.send(h11.EndOfMessage())
        self._head = bytearray()
        self._response: h11.Response | None = None
        self._matched = 0
        self._wrong_status: str | None = None
        self._quoted = bytearray()

    def feed(self, data: bytes) -> Verdict | None:
        """Takes one piece; returns the verdict on the whole answer, or None while more is needed."""
        if self._response is None:
            self._head += data
        try:
            self._connection.receive_data(data)
            while True:
                event = self._connection.next_event()
                if event is h11.NEED_DATA:
                    return self._head_too_long()
                if isinstance(event, h11.ConnectionClosed):
                    return self._broken("short", "the connection ended before the answer did")
                verdict: Verdict | None = None
                if isinstance(event, h11.Response):
                    verdict = self._on_response(event)
                elif isinstance(event, h11.Data):
                    verdict = self._on_body(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    verdict = self._on_end(ended_by_eof=not data)
                if verdict is not None:
                    return verdict
        except h11.RemoteProtocolError as error:
            if not data:
                return self._broken("short", f"the connection ended before the answer did: {error}")
            return self._broken("status", f"not an HTTP/1.1 answer: {error}")

    def _head_too_long(self) -> Verdict | None:
        if self._response is None and len(self._head) > HEAD_LIMIT_BYTES:
            return _failed("status", f"more than {HEAD_LIMIT_BYTES} bytes before the body")
        return None

    def _broken(self, kind: str, detail: str) -> Verdict:
        """The answer cannot be read on; a wrong status that was seen before weighs more than that."""
        if self._wrong_status is not None:
            return _failed("status", f"{self._wrong_status}: {_abbreviated(bytes(self._quoted))}")
        return _failed(kind, detail)

    def _on_response(self, response: h11.Response) -> Verdict | None:
        target, self._response = self._target, response
        unread = len(self._connection.trailing_data[0])
        if unread:
            del self._head[-unread:]
        if len(self._head) > HEAD_LIMIT_BYTES:
            return _failed("status", f"more than {HEAD_LIMIT_BYTES} bytes before the body")
        if response.http_version not in (b"1.0", b"1.1"):
            return _failed("status", f"HTTP/{response.http_version.decode('latin-1')} instead of HTTP/1.1")
        if response.status_code != target.status:
            self._wrong_status = f"status {response.status_code} instead of {target.status}"
            return None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
        for name, value in self._expected_headers.items():
            got = headers.get(name)
            if got != value and not (name == "content-length" and "transfer-encoding" in headers):
                return _failed("status", f"header {name}: {got!r} instead of {value!r}")
        return None

    def _on_body(self, data: bytes | bytearray) -> Verdict | None:
        if self._wrong_status is not None:
            self._quoted += data[:QUOTED_BYTES]
            return self._broken("status", "") if len(self._quoted) >= QUOTED_BYTES else None
        if not self._target.answer.startswith(data, self._matched):
            return self._wrong_body(data)
        self._matched += len(data)
        return None

    def _wrong_body(self, data: bytes | bytearray) -> Verdict:
        """Says where the body leaves the expected one, which `data` does somewhere."""
        answer, matched = self._target.answer, self._matched
        same, high = 0, len(data)
        while same < high:  # by bisection: a loop over the bytes of a large piece would hold up the others
            middle = (same + high + 1) // 2
            if answer.startswith(data[:middle], matched):
                same = middle
            else:
                high = middle - 1
        wrong = matched + same
        begin = max(0, wrong - QUOTED_BYTES // 2)
        got = answer[begin:wrong] + data[same : same + QUOTED_BYTES // 2]
        expected = answer[begin : begin + QUOTED_BYTES]
        return _failed("body", f"body {got!r} instead of {expected!r}, wrong from byte {wrong} on")

    def _on_end(self, *, ended_by_eof: bool) -> Verdict:
        response, answer = self._response, self._target.answer
        if response is None:
            return _failed("status", "an answer without a status line")
        if self._wrong_status is not None:
            return self._broken("status", "")
        if self._matched < len(answer):
            detail = f"body {_abbreviated(answer[: self._matched])} instead of {_abbreviated(answer)}"
            return _failed("body", detail)
        surplus = self._connection.trailing_data[0]
        if surplus:
            return _failed("body", f"surplus bytes after the answer: {_abbreviated(surplus)}")
        return Verdict(
            reusable=self._connection.their_state is h11.DONE,
            until_eof=ended_by_eof,
            chunked=any(name == b"transfer-encoding" for name, _ in response.headers),
            head=bytes(self._head),
        )


NEVER_VARY = frozenset(
    {
        # what frames the answer or decides what becomes of the connection (RFC 9112)
        *(b"connection", b"content-length", b"keep-alive", b"proxy-connection", b"te", b"trailer"),
        *(b"transfer-encoding", b"upgrade"),
        # what says how its body is to be read
        *(b"content-encoding", b"content-range", b"content-type"),
        # what a WebSocket's handshake is judged by (RFC 6455, section 4.1)
        *(b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol"),
    }
)
"""Headers whose value is part of what was accepted."""
MOST_FORMS = 8
"""Heads of other lines, such as with a cookie and without, that are remembered at a time."""
MOST_BODIES = 8
"""Ways in which the body that follows a head was cut into chunks."""
PATTERN_BYTES = 256
"""Bodies up to this size are compared by the same pattern as their head."""
LONGEST_VALUE = 4096
KNOWN_HEAD_LIMIT_BYTES = 16 * 1024
"""A longer head is left to the full parser."""

_VALUE = rb"[\x21-\x7e](?:[\x20-\x7e]{0,%d}[\x21-\x7e])?" % (LONGEST_VALUE - 2)
"""A part of what h11 takes for a value (RFC 9110, section 5.5): visible ASCII with spaces inside."""
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(:[ \t]*)(" + _VALUE + rb")([ \t]*\r\n)")


class Form:
    """Heads of the same lines, in the same order.

    Attributes:
        verdict: of the full parser, on each of them.
        bodies: the bytes that followed, framing included, of answers that were accepted whole.
    """

    __slots__ = ("_fits", "_head", "_lines", "_match", "_patterns", "_places", "bodies", "verdict")

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.bodies: list[bytes] = []
        self._head = verdict.head
        self._lines = _lines_of(verdict.head)
        self._patterns = [re.escape(line) for line in self._lines]
        self._places: set[int] = set()
        self._match = re.compile(b"".join(self._patterns)).match
        self._fits: Callable[[bytes], object] | None = None

    def end(self, data: bytes) -> int:
        """How many of these bytes are a head of this form that they begin with; 0 where they do not."""
        if data.startswith(self._head):
            return len(self._head)
        found = self._match(data, 0, KNOWN_HEAD_LIMIT_BYTES) if self._places else None
        return found.end() if found is not None else 0

    @property
    def fits(self) -> Callable[[bytes], object]:
        """Tells, by something true, that bytes are a whole answer of this form."""
        if self._fits is None:
            bodies = b"|".join(map(re.escape, self.bodies))
            # One pattern for all of it takes a third of the time; of a long body a comparison takes less.
            short = 0 < len(bodies) <= PATTERN_BYTES
            whole = b"".join(self._patterns) + b"(?:" + bodies + b")"
            self._fits = re.compile(whole).fullmatch if short else self._is_whole
        return self._fits

    def add_body(self, body: bytes) -> None:
        """Remembers what followed an accepted head."""
        if body not in self.bodies:
            self.bodies = [body, *self.bodies[: MOST_BODIES - 1]]
            self._fits = None

    def _is_whole(self, answer: bytes) -> bool:
        end = self.end(answer)
        return bool(end) and answer[end:] in self.bodies

    def widen(self, verdict: Verdict, fixed: frozenset[bytes]) -> bool:
        """Takes in another accepted head, where it differs only in values that may; returns whether it does.

        Args:
            verdict: on that head.
            fixed: names, in lower case, of headers whose values may not differ.
        """
        lines = _lines_of(verdict.head)
        if not _same_verdict(verdict, self.verdict) or len(lines) != len(self._lines) or len(lines) < 2:
            return False
        differing = {number for number, line in enumerate(lines) if line != self._lines[number]}
        patterns = {number: _pattern_of(self._lines[number], lines[number], fixed) for number in differing}
        if None in patterns.values():
            return False
        if not differing <= self._places:
            self._places |= differing
            self._patterns = [patterns.get(number) or each for number, each in enumerate(self._patterns)]
            self._match = re.compile(b"".join(self._patterns)).match
            self._fits = None
        return True


class Heads:
    """Every form of the heads of one target's answers.

    Args:
        expected: names of the headers that the contract holds the target's answers to.

    Attributes:
        again: tells, by something true, that bytes are a whole answer of the form that came last, after which
            the connection stays open.
    """

    def __init__(self, expected: Iterable[str] = ()) -> None:
        self.again: Callable[[bytes], object] = _nothing
        self._fixed = NEVER_VARY | {name.lower().encode("latin-1") for name in expected}
        self._forms: list[Form] = []

    def learn(self, verdict: Verdict) -> Form:
        """Remembers the head of an answer that the full parser accepted; returns its form."""
        for form in self._forms:
            if form.end(verdict.head) == len(verdict.head) or form.widen(verdict, self._fixed):
                return self._first(form)
        del self._forms[MOST_FORMS - 1 :]
        return self._first(Form(verdict))

    def learn_whole(self, verdict: Verdict, answer: bytes) -> None:
        """Remembers a whole answer that the full parser accepted: its head, and what follows that."""
        form = self.learn(verdict)
        form.add_body(answer[len(verdict.head) :])
        self._first(form)

    def get(self, head: bytes) -> Verdict | None:
        """The full parser's verdict on a head that it accepted, or would; None for any other."""
        for form in self._forms:
            if form.end(head) == len(head):
                return self._first(form).verdict
        return None

    def begins(self, data: bytes) -> tuple[Form, int] | None:
        """The form of a whole head that these bytes begin with, and how long that is; None without one."""
        for form in self._forms:
            if end := form.end(data):
                return self._first(form), end
        return None

    def _first(self, form: Form) -> Form:
        """The form, which is looked at first from now on: the next answer is most often alike."""
        forms = self._forms
        if not forms or forms[0] is not form:
            if form in forms:
                forms.remove(form)
            forms.insert(0, form)
        self.again = form.fits if form.verdict.reusable else _nothing
        return form


def _nothing(_: bytes) -> None:
    """Recognises no answer."""


def _pattern_of(one: bytes, other: bytes, fixed: frozenset[bytes]) -> bytes | None:
    """What both lines are, the value aside; None where they differ in more, or where it may not vary."""
    ours, theirs = _LINE.fullmatch(one), _LINE.fullmatch(other)
    if ours is None or theirs is None or ours.group(1, 2, 4) != theirs.group(1, 2, 4):
        return None
    name, colon, end = ours.group(1, 2, 4)
    return None if name.lower() in fixed else re.escape(name + colon) + _VALUE + re.escape(end)


def _lines_of(head: bytes) -> list[bytes]:
    """The lines of a head, each with its end; one alone where it is no single head of CRLF lines."""
    if head.count(b"\n") != head.count(b"\r\n") or head.find(b"\r\n\r\n") != len(head) - 4:
        return [head]
    return head.splitlines(keepends=True) if _is_plain(head) else [head]


def _is_plain(head: bytes) -> bool:
    """Whether lines end nowhere but at CRLF: `splitlines` takes a lone CR for an end, too."""
    return head.count(b"\r") == head.count(b"\r\n")


def _same_verdict(one: Verdict, other: Verdict) -> bool:
    return (one.reusable, one.until_eof, one.chunked) == (other.reusable, other.until_eof, other.chunked)


Progress = Literal["exact", "complete", "unknown"]

_BLANK_LINE = re.compile(rb"\n\r?\n")
"""What ends a head for the full parser, too."""

_SIZE = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})\r\n")
_SIZE_BEGUN = re.compile(rb"\r?|\r\n[0-9A-Fa-f]{0,16}|\r\n[0-9A-Fa-f]{1,16}\r")
_SIZE_BYTES = 20
"""The line end of the chunk before, at most 16 digits, and a line end."""


class KnownHeads(Protocol):
    """The heads that the full parser accepted, or would."""

    def get(self, head: bytes, /) -> Verdict | None:
        """Its verdict on an answer with that head; None where it is not known."""


class LargeAnswer:
    """One answer, in any number of pieces.

    It recognises what equals an answer that the full parser would accept, and nothing else: a head that the
    full parser accepted (`loadtests.engine.http`), then the expected body, framed by Content-Length, by the
    end of the connection, or in plain chunks (whose sizes may differ from answer to answer; no extensions, no
    trailers).

    Args:
        answer: the expected body.
        heads: the full parser's verdicts on correct answers, by their head.
    """

    __slots__ = ("_answer", "_chunk_left", "_head", "_heads", "_known", "_line", "_matched")

    def __init__(self, answer: bytes, heads: KnownHeads) -> None:
        self._answer = answer
        self._heads = heads
        self._head = b""
        self._known: Verdict | None = None
        self._matched = 0
        self._chunk_left: int | None = 0  # of the chunk's data; None once the last chunk was announced
        self._line = (
            b"\r\n"  # of what stands between chunks; the first is treated as if one had ended before it
        )

    @property
    def reusable(self) -> bool:
        """Whether the server keeps the connection open after this answer."""
        known = self._known
        return known is not None and known.reusable and not known.until_eof

    def take(self, piece: bytes) -> Progress:
        """Takes one piece; `b""` is the end of the connection.

        Returns:
            `exact` while more is needed; `complete` for a correct answer; `unknown` for anything else. An
            unknown piece is not taken: the full parser gets `so_far()`, then that piece, and judges.
        """
        known = self._known
        if not piece:
            ended = known is not None and known.until_eof and self._matched == len(self._answer)
            return "complete" if ended else "unknown"
        if known is not None:
            return self._take_body(known, piece, 0)
        whole = self._head + piece if self._head else piece
        blank = _BLANK_LINE.search(whole, 0, KNOWN_HEAD_LIMIT_BYTES)
        if blank is None:
            if len(whole) >= KNOWN_HEAD_LIMIT_BYTES or not whole.startswith(b"H"):
                return "unknown"
            self._head = whole
            return "exact"
        head = whole[: blank.end()]
        known = self._heads.get(head)
        if known is None:
            return "unknown"
        progress = self._take_body(known, whole, blank.end())
        if progress != "unknown":
            self._head, self._known = head, known
        return progress

    def so_far(self) -> bytes:
        """What was taken, as the full parser may read it: chunks that went by are joined into one."""
        known, body = self._known, self._answer[: self._matched]
        if known is None or not known.chunked:
            return self._head + body
        if self._chunk_left:
            return self._head + b"%x\r\n" % (self._matched + self._chunk_left) + body
        between = b"\r\n0\r\n" + self._line if self._chunk_left is None else self._line
        if body:
            return self._head + b"%x\r\n" % len(body) + body + between
        return self._head + between[2:]

    def _take_body(self, known: Verdict, piece: bytes, begin: int) -> Progress:
        if known.chunked:
            return self._take_chunks(piece, begin)
        answer, matched = self._answer, self._matched
        if not answer.startswith(memoryview(piece)[begin:] if begin else piece, matched):
            return "unknown"
        self._matched = matched + len(piece) - begin
        return "complete" if self._matched == len(answer) and not known.until_eof else "exact"

    def _take_chunks(self, piece: bytes, begin: int) -> Progress:
        answer, view, end = self._answer, memoryview(piece), len(piece)
        matched, left, line = self._matched, self._chunk_left, self._line
        while begin < end and left is not None:
            if left:
                count = min(left, end - begin)
                if not answer.startswith(view[begin : begin + count], matched):
                    return "unknown"
                matched += count
                left -= count
                begin += count
                continue
            between = line + piece[begin : begin + _SIZE_BYTES - len(line)]
            found = _SIZE.match(between)
            if found is None:
                if not _SIZE_BEGUN.fullmatch(between):
                    return "unknown"
                line, begin = between, end
                continue
            begin += found.end() - len(line)
            line = b""
            left = int(found[1], 16) or None
        if left is None:
            line += piece[begin:]
            if not b"\r\n".startswith(line) or matched != len(answer):
                return "unknown"
        self._matched, self._chunk_left, self._line = matched, left, line
        return "complete" if left is None and line == b"\r\n" else "exact"


class HttpConnection(Slot):
    """A slot that holds one connection at a time, reopened after each answer where the transport says so.

    An answer that equals one that the full parser accepted before is accepted, byte for byte but for values
    of headers that change no verdict (`loadtests.engine.http`); a large one, where its head does and its
    body is the expected one (`LargeAnswer`). Everything else goes through the full parser.
    """

    __slots__ = ("_checker", "_got", "_reader", "_reused")

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self._reader: AnswerReader | None = None
        self._checker: LargeAnswer | None = None
        self._got = b""
        self._reused = False

    def prepare(self) -> None:
        """Gets ready for a slice: the next request is this slice's first on the connection."""
        self._opening = True
        self._repeats = False
        if self._group.keeps_alive and self._socket is None:
            self._connect()

    def start(self, intended_ns: int = 0) -> None:
        """Sends the next request, which in an open loop was to be sent at `intended_ns`."""
        self._begin(intended_ns)
        if self._socket is None:
            self._connect()
        if self._socket is not None:
            self._send(self._socket, self._group.request)

    def close(self) -> None:
        """Closes the connection, whatever state it is in."""
        super().close()
        self._reader = self._checker = None
        self._got = b""
        self._reused = False

    def _connect(self) -> None:
        connection = open_connection(self._group, self._fail)
        if connection is not None:
            self._watch(connection)

    def _take(self, piece: bytes, now: int) -> None:
        group = self._group
        if not self.in_flight:
            self._on_idle_data(piece)
            return
        if self._reader is None and group.is_large:
            self._check(piece, now)
            return
        if self._reader is None and piece:
            whole = self._got + piece if self._got else piece
            reusable = group.recognise(whole)
            if reusable is not None:
                self._complete(now, reusable=reusable)
                return
            if group.is_begun(whole):
                self._got = whole
                return
        self._read_in_full(piece, now)

    def _check(self, piece: bytes, now: int) -> None:
        """Checks a large answer without the full parser, as long as it is one that this would accept."""
        group, checker = self._group, self._checker
        if checker is None:
            checker = self._checker = LargeAnswer(group.target.answer, group.heads)
        progress = checker.take(piece)
        if progress == "complete":
            self._complete(now, reusable=checker.reusable)
        elif progress == "unknown":
            self._checker = None
            self._got = checker.so_far()
            self._read_in_full(piece, now)

    def _read_in_full(self, piece: bytes, now: int) -> None:
        """Feeds the full parser with what came so far and this piece; `b""` is the end of the connection."""
        verdict: Verdict | None = None
        if self._reader is None:
            if not piece and not self._got:
                self._closed_without_an_answer()
                return
            self._reader = AnswerReader(self._group.target)
            if self._got:
                verdict = self._reader.feed(self._got)
        if verdict is None:
            verdict = self._reader.feed(piece)
        if not self._group.is_large:
            self._got += piece
        if verdict is None:
            return
        if verdict.failure is not None:
            self._fail(verdict.failure, verdict.detail)
            return
        if self._group.is_large:
            self._group.heads.learn(verdict)
        elif not verdict.until_eof:
            self._group.accept_whole(self._got, verdict)
        self._reader = None
        self._complete(now, reusable=verdict.reusable and not verdict.until_eof)

    def _closed_without_an_answer(self) -> None:
        if self._group.keeps_alive and self._reused:
            self._group.tally.closed_by_server += 1
        self._fail("reset", "the server closed the connection without an answer")

    def _complete(self, now: int, *, reusable: bool) -> None:
        group = self._group
        self._got = b""
        self._checker = None
        self._finish(now)
        if group.keeps_alive and reusable and not self._unsent:  # an early answer leaves an upload unfinished
            self._reused = True
        else:
            if group.keeps_alive:
                group.tally.closed_by_server += 1
            self.close()
        self._next(now)
        self._repeats = self._reused and self.in_flight and not self._unsent and group.repeats
        self._expected = group.latest

    def _another(self) -> bytes:
        self._expected = self._group.latest
        return self._group.request

    def _on_idle_data(self, data: bytes) -> None:
        if data:
            self._group.tally.fail("body", f"bytes that nobody asked for: {data[:120]!r}")
        self.close()

    def _after_failure(self) -> None:
        self._group.loop.rest(self._resume)

    def _resume(self) -> None:
        if not self.in_flight:
            self._next(clock_ns())
