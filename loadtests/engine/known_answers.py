"""Recognises answers without the full parser: heads that differ in nothing but values, and large bodies.

Many servers give each answer an identifier, a cookie, a time or a counter. The full parser has seen none of
them before, and if it had to read each, the server would be charged with the engine's own work. What makes an
answer right are its status, the headers that frame it, those that the contract names, and its body; no other
header's value changes the verdict. So the places where values differ are learned from answers that the full
parser accepted: a line is fixed until it was seen with another value, and from then on it may hold any value
that the full parser would take for one. Everything around these places stays fixed, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    pass
from loadtests.engine.http_parser import Verdict
from loadtests.engine.masked import Masked

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
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(:[ \t]*)(" + _VALUE + rb")([ \t]*\r\n)")


class Form:
    """Heads of the same lines, in the same order.

    Args:
        verdict: of the full parser, on the first of them.
        mask: what bodies are held to where parts of them vary.

    Attributes:
        verdict: of the full parser, on each of them.
        bodies: the bytes that followed, framing included, of answers that were accepted whole.
    """

    __slots__ = ("_fits", "_head", "_lines", "_mask", "_match", "_patterns", "_places", "bodies", "verdict")

    def __init__(self, verdict: Verdict, mask: Masked | None = None) -> None:
        self.verdict = verdict
        self._mask = mask
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
            short = 0 < len(bodies) <= PATTERN_BYTES and self._mask is None
            whole = b"".join(self._patterns) + b"(?:" + bodies + b")"
            self._fits = re.compile(whole).fullmatch if short else self._is_whole
        return self._fits

    def add_body(self, body: bytes) -> None:
        """Remembers what followed an accepted head."""
        if body not in self.bodies:
            self.bodies = [body, *self.bodies[: MOST_BODIES - 1]]
            self._fits = None

    def holds(self, answer: bytes, end: int) -> bool:
        """Whether what follows a head of this form, which ends there, is the whole body of a right answer."""
        if self._mask is None:
            return answer[end:] in self.bodies
        return self._body_bytes(answer, end) == len(answer) - end and self._mask.holds(answer, end)

    def is_begun(self, answer: bytes, end: int) -> bool:
        """Whether what follows a head of this form may be the beginning of such a body."""
        if self._mask is None:
            begun = answer[end:]
            return any(body.startswith(begun) for body in self.bodies)
        return self._body_bytes(answer, end) > len(answer) - end

    def _body_bytes(self, answer: bytes, end: int) -> int:
        """How long the body is that a head announces; -1 where it has other framing than one length."""
        if self.verdict.chunked or self.verdict.until_eof:
            return -1
        found = _LENGTH.findall(answer, 0, end)
        return int(found[0]) if len(found) == 1 else -1

    def _is_whole(self, answer: bytes) -> bool:
        end = self.end(answer)
        return bool(end) and self.holds(answer, end)

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
        expected: names of the headers that the target's answers are held to.
        mask: what their bodies are held to where parts of them vary; their lengths then vary, too.

    Attributes:
        again: tells, by something true, that bytes are a whole answer of the form that came last, after which
            the connection stays open.
    """

    def __init__(self, expected: Iterable[str] = (), mask: Masked | None = None) -> None:
        self.again: Callable[[bytes], object] = _nothing
        self._mask = mask
        framing = NEVER_VARY if mask is None else NEVER_VARY - {b"content-length"}
        self._fixed = framing | {name.lower().encode("latin-1") for name in expected}
        self._forms: list[Form] = []

    def learn(self, verdict: Verdict) -> Form:
        """Remembers the head of an answer that the full parser accepted; returns its form."""
        for form in self._forms:
            if form.end(verdict.head) == len(verdict.head) or form.widen(verdict, self._fixed):
                return self._first(form)
        del self._forms[MOST_FORMS - 1 :]
        return self._first(Form(verdict, self._mask))

    def learn_whole(self, verdict: Verdict, answer: bytes) -> None:
        """Remembers a whole answer that the full parser accepted: its head, and what follows that."""
        form = self.learn(verdict)
        if self._mask is None:
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
    full parser accepted, then the expected body, framed by Content-Length, by the
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
