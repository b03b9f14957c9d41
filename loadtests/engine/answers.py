"""What is known of the answers to one request: which bytes are right, and how that is seen at once."""

from __future__ import annotations

from loadtests.engine.http_parser import Verdict
from loadtests.engine.known_answers import Heads
from loadtests.engine.protocol import Target

REMEMBERED_BYTES = 64 * 1024
"""Answers with a body up to this size are recognised whole, larger ones by their head and body."""
SMALL_BYTES = 3072
"""Bodies under this size come in one piece with their heads."""
ACCEPTED_ANSWERS = 512
"""How many different correct answers are remembered (a `Date` header alone makes one a second)."""


class Answers:
    """One request, and the answers to it that the full parser found correct.

    Attributes:
        request: as it goes over the wire.
        latest: the answer that came last; empty before the first.
        is_large: whether answers are recognised by head and body.
        is_read_in_full: whether the full parser reads each answer: one that large, of which parts vary.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.keeps_alive = target.transport == "keep-alive"
        self.request = b"" if target.transport == "websocket" else target.request_bytes()
        over = len(target.answer) > REMEMBERED_BYTES
        self.is_large = over and not target.varies
        self.is_read_in_full = over and bool(target.varies)
        self.heads = Heads(target.headers or (), target.mask)
        self.accepted: dict[bytes, bool] = {}
        self.latest = b""
        self._latest_reusable = False

    def accept_whole(self, answer: bytes, verdict: Verdict) -> None:
        """Remembers an answer that the full parser found correct."""
        self.heads.learn_whole(verdict, answer)
        self.accept(answer, reusable=verdict.reusable)

    def recognise(self, answer: bytes) -> bool | None:
        """Whether the connection stays open after an answer; None where only the full parser can judge."""
        if answer == self.latest:
            return self._latest_reusable
        reusable = self.accepted.get(answer)
        if reusable is None:
            found = self.heads.begins(answer)
            if found is None or not found[0].holds(answer, found[1]):
                return None
            reusable = found[0].verdict.reusable
        self._expect(answer, reusable=reusable)
        return reusable

    def _expect(self, answer: bytes, *, reusable: bool) -> None:
        """Expects this answer again, unless it ends its connection: a `Date` changes but once a second."""
        if reusable or not self.keeps_alive:
            self.latest, self._latest_reusable = answer, reusable

    def is_begun(self, answer: bytes) -> bool:
        """Whether these bytes are the beginning of an answer that would be recognised."""
        if self.latest.startswith(answer):
            return True
        found = self.heads.begins(answer)
        return found is not None and found[0].is_begun(answer, found[1])

    def accept(self, answer: bytes, *, reusable: bool) -> None:
        """Remembers an answer that is correct."""
        if len(self.accepted) >= ACCEPTED_ANSWERS:
            self.accepted.clear()
        self.accepted[answer] = reusable
        self._expect(answer, reusable=reusable)


def in_turn(target: Target) -> list[Answers]:
    """One round of a target's requests: each as often as its share says, and as evenly spread as can be.

    Each turn goes to the request that is furthest behind its share (smooth weighted round-robin).
    """
    every = [Answers(each) for each in (target, *target.others)]
    whole = sum(each.target.share for each in every)
    behind = [0] * len(every)
    turns: list[Answers] = []
    for _ in range(whole if target.others else 1):
        behind = [number + each.target.share for number, each in zip(behind, every, strict=True)]
        first = behind.index(max(behind))
        behind[first] -= whole
        turns.append(every[first])
    return turns
