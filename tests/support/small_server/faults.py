"""What the small server does wrong under load, and the counting that makes it do so."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

COUNTED = "/plaintext"
DYING_WORDS = "planted fault: this process ends now"
DYING_STATUS = 7


@dataclass
class Faults:
    """By default none. Only answers of `/plaintext` count, so that verification stays under every number.

    Attributes:
        die_after: the process ends at that answer.
        wrong_every: every so manyth answer has one wrong byte.
        wrong_paths: these are always answered with one wrong byte.
        hang_up_every: every so manyth answer of a connection is its last.
    """

    die_after: int = 0
    wrong_every: int = 0
    wrong_paths: frozenset[str] = frozenset()
    hang_up_every: int = 0
    _answers: int = field(default=0, init=False)

    def spoil(self, path: str, body: bytes) -> bytes:
        """The body as it is to be sent; may end the process."""
        self._answers += path == COUNTED
        if self.die_after and self._answers >= self.die_after:
            print(DYING_WORDS, flush=True)
            os._exit(DYING_STATUS)
        unlucky = path == COUNTED and self.wrong_every and self._answers % self.wrong_every == 0
        if (unlucky or path in self.wrong_paths) and body:
            return body[:-1] + bytes((body[-1] ^ 1,))
        return body

    def hangs_up(self, answers: int) -> bool:
        """Whether a connection ends with the answer of that number."""
        return self.hang_up_every > 0 and answers % self.hang_up_every == 0
