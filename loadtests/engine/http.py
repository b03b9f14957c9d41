"""HTTP/1.1 as the engine speaks it: the full parser, known heads, large answers, and one connection slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.engine.slot import Slot, clock_ns, open_connection

if TYPE_CHECKING:
    from loadtests.engine.group import Group
from loadtests.engine.answers import Answers
from loadtests.engine.http_parser import AnswerReader, Verdict
from loadtests.engine.known_answers import LargeAnswer


class HttpConnection(Slot):
    """A slot that holds one connection at a time, reopened after each answer where the transport says so.

    An answer that equals one that the full parser accepted before is accepted, byte for byte but for values
    of headers that change no verdict (`Heads`); a large one, where its head does and its body is the expected
    one (`LargeAnswer`). Everything else goes through the full parser.
    """

    __slots__ = ("_answers", "_checker", "_got", "_reader", "_reused")

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self._answers: Answers = group
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
            self._send(self._socket, self._answers.request)

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
        answers = self._answers
        if not self.in_flight:
            self._on_idle_data(piece)
            return
        if self._reader is None and answers.is_large:
            self._check(piece, now)
            return
        if self._reader is None and piece and not answers.is_read_in_full:
            whole = self._got + piece if self._got else piece
            reusable = answers.recognise(whole)
            if reusable is not None:
                self._complete(now, reusable=reusable)
                return
            if answers.is_begun(whole):
                self._got = whole
                return
        self._read_in_full(piece, now)

    def _check(self, piece: bytes, now: int) -> None:
        """Checks a large answer without the full parser, as long as it is one that this would accept."""
        answers, checker = self._answers, self._checker
        if checker is None:
            checker = self._checker = LargeAnswer(answers.target.answer, answers.heads)
        progress = checker.take(piece)
        if progress == "complete":
            self._complete(now, reusable=checker.reusable)
        elif progress == "unknown":
            self._checker = None
            self._got = checker.so_far()
            self._read_in_full(piece, now)

    def _read_in_full(self, piece: bytes, now: int) -> None:
        """Feeds the full parser with what came so far and this piece; `b""` is the end of the connection."""
        answers = self._answers
        verdict: Verdict | None = None
        if self._reader is None:
            if not piece and not self._got:
                self._closed_without_an_answer()
                return
            self._reader = AnswerReader(answers.target)
            if self._got:
                verdict = self._reader.feed(self._got)
        if verdict is None:
            verdict = self._reader.feed(piece)
        if not answers.is_large and not answers.is_read_in_full:
            self._got += piece
        if verdict is None:
            return
        if verdict.failure is not None:
            self._fail(verdict.failure, verdict.detail)
            return
        if answers.is_large:
            answers.heads.learn(verdict)
        elif not verdict.until_eof and not answers.is_read_in_full:
            answers.accept_whole(self._got, verdict)
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
        self._expected = expected = self._answers.latest
        whole = self._reused and self.in_flight and not self._unsent
        self._repeats = whole and group.repeats and expected != b""

    def _another(self) -> bytes:
        self._expected = self._answers.latest
        return self._answers.request

    def _on_idle_data(self, data: bytes) -> None:
        if data:
            self._group.tally.fail("body", f"bytes that nobody asked for: {data[:120]!r}")
        self.close()

    def _after_failure(self) -> None:
        self._group.loop.rest(self._resume)

    def _resume(self) -> None:
        if not self.in_flight:
            self._next(clock_ns())


class TurnsConnection(HttpConnection):
    """A slot whose every request is the next of several that take turns over all connections of its group.

    The group itself, of which no answer is known, recognises none, so that an answer to one of the requests
    is never taken for an answer to another.
    """

    __slots__ = ()

    def start(self, intended_ns: int = 0) -> None:
        """Sends the request whose turn it is."""
        self._answers = next(self._group.turns)
        super().start(intended_ns)

    def _another(self) -> bytes:
        self._answers = answers = next(self._group.turns)
        self._expected = answers.latest
        return answers.request

    def _fail(self, kind: str, example: str) -> None:
        target = self._answers.target
        super()._fail(kind, f"{target.method} {target.path}: {example}")
