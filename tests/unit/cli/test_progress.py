"""The screen of a run that goes on: drawn between slices, since drawing takes a core that may be measured."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.live import Live

from gatebench.cli import progress
from gatebench.cli.progress import DRAW_EVERY_S, SLICES_APART_S, Screen


class Drawn:
    """A screen that counts how often it is drawn, at a time that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.times = 0
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        monkeypatch.setattr(Live, "refresh", lambda _live: self._count())
        self.screen = Screen(console=Console(file=io.StringIO()), auto_refresh=False)

    def _count(self) -> None:
        self.times += 1


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    return Drawn(monkeypatch)


def test_a_screen_is_drawn_by_the_clock_as_long_as_nothing_is_measured(drawn: Drawn) -> None:
    for times in (1, 2, 3):
        drawn.screen.refresh()
        assert drawn.times == times


def test_while_slices_follow_one_another_it_is_drawn_between_them_alone(drawn: Drawn) -> None:
    for _ in range(10):
        drawn.now_s += 0.6 * DRAW_EVERY_S
        drawn.screen.refresh()  # the clock, in the middle of a slice
        drawn.now_s += 0.6 * DRAW_EVERY_S
        before = drawn.times
        drawn.screen.measured()
        assert drawn.times == before + 1
    assert drawn.times == 11  # the first slice could not be known of


def test_short_slices_are_not_made_longer_by_drawing_after_each(drawn: Drawn) -> None:
    for _ in range(20):
        drawn.now_s += DRAW_EVERY_S / 10
        drawn.screen.measured()
    assert drawn.times == 2


def test_after_the_last_slice_it_is_drawn_by_the_clock_again(drawn: Drawn) -> None:
    drawn.screen.measured()
    drawn.now_s += SLICES_APART_S
    drawn.screen.refresh()
    assert drawn.times == 1
    drawn.now_s += 0.1
    drawn.screen.refresh()
    assert drawn.times == 2
