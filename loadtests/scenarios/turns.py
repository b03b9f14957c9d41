"""How far the pauses of a Locust file's users alone leave its rate open: renewal theory, from their turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


EDGE_VARIANCE = 1 / 6
"""Variance of how many turns of a strict rhythm fall into a window, over all phases and lengths."""


@dataclass(slots=True)
class Turns:
    """The turns that the users of one class ended: each gave some answers and took some time.

    A turn is from the begin of one task to that of the next; of a user whose task does not end, from one
    request to the next.
    """

    users: int = 0
    count: int = 0
    answers: int = 0
    answers_squared: int = 0
    seconds: float = 0.0
    seconds_squared: float = 0.0
    product: float = 0.0

    def add(self, answers: int, seconds: float) -> None:
        """One turn more."""
        self.count += 1
        self.answers += answers
        self.answers_squared += answers * answers
        self.seconds += seconds
        self.seconds_squared += seconds * seconds
        self.product += answers * seconds

    def spread(self, rate_per_s: float) -> float:
        """The variance that these turns bring into a count of answers, at a user's long-run rate.

        The count of a renewal-reward process that turns N times varies by N · Var(k - r·c), with k answers
        and c seconds a turn and r the rate (Smith, Regenerative Stochastic Processes, 1955).
        """
        spread = (
            self.answers_squared
            - 2 * rate_per_s * self.product
            + rate_per_s * rate_per_s * self.seconds_squared
        )
        return max(0.0, spread)

    def edge(self) -> float:
        """The variance that the two ends of an uninterrupted time of measuring bring: each cuts turns."""
        if not self.count:
            return 0.0
        answers = self.answers / self.count
        return self.users * answers * answers * EDGE_VARIANCE


class TurnsByClass:
    """The turns of every class of users: all of them, for its rate, and those since the last question."""

    def __init__(self) -> None:
        self._all: dict[str, Turns] = {}
        self._new: dict[str, Turns] = {}
        self._edges_told = False

    def joined(self, user_class: str) -> None:
        """One user more."""
        self._all.setdefault(user_class, Turns()).users += 1
        self._new.setdefault(user_class, Turns()).users += 1

    def add(self, user_class: str, answers: int, seconds: float) -> None:
        """One user of that class ended a turn."""
        self._all[user_class].add(answers, seconds)
        self._new[user_class].add(answers, seconds)

    def forget(self) -> None:
        """What was till now, the warm-up, is not measured."""
        self._new = {name: Turns(users=each.users) for name, each in self._new.items()}

    def take_variance(self) -> float:
        """The variance of a count of answers since the last time; with the first, that of the ends."""
        variance = 0.0
        for name, turns in self._new.items():
            whole = self._all[name]
            variance += turns.spread(whole.answers / whole.seconds if whole.seconds else 0.0)
            variance += 0.0 if self._edges_told else whole.edge()
        self._edges_told = True
        self.forget()
        return variance
