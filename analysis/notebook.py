"""What the notebooks import: the run they are about, and its tables and charts shown in a cell."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pandas as pd
from IPython.display import SVG, display
from rich.console import Console
from rich.text import Text

from analysis.charts.registry import CHARTS, Kind
from analysis.charts.view import View
from analysis.figures.leads import RPS
from analysis.figures.results import compared, standings
from analysis.page.terminal import standings_table
from analysis.reading.run import load_run
from analysis.words import findings
from gatebench.results.bundle import unpacked
from gatebench.words.errors import GatebenchError
from gatebench.words.paths import RESULTS, ROOT

if TYPE_CHECKING:
    from analysis.figures.results import LevelResult
    from analysis.reading.run import Run


RUN_VARIABLE = "GATEBENCH_RUN"


class NothingToShow(GatebenchError):  # noqa: N818 - what a reader is told, not a fault
    """A cell cannot go on, nor can those after it; IPython shows the text alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def open_run() -> Run:
    """The run that `GATEBENCH_RUN` names, a results folder or a bundle; without it the newest one here.

    A relative path counts from the repository, wherever the notebook was opened.

    Raises:
        NothingToShow: there is no run, or it is damaged.
    """
    source = ROOT / (os.environ.get(RUN_VARIABLE) or RESULTS / "latest")
    # A bundle stays unpacked as long as the notebook: its latencies are read when they are asked for.
    with ExitStack() as until_the_end:
        try:
            run = load_run(until_the_end.enter_context(unpacked(source)))
        except GatebenchError as error:
            raise NothingToShow(
                f"{error}\n{RUN_VARIABLE} names the run to look at; `make smoke` makes one in results/latest."
            ) from error
        atexit.register(until_the_end.pop_all().close)
        return run


def counted_latencies(run: Run) -> pd.DataFrame:
    """How many latencies each level has by each clock: one row a level, one column a clock."""
    rows = [run.histograms.of_level(plan.workload, plan.level) for plan in run.meta.levels]
    keys = ["workload", "level", "clock"]
    sums: pd.DataFrame = pd.concat(rows).groupby(keys, observed=True)["count"].sum().unstack()
    return sums


def loaded_by(levels: Sequence[LevelResult], *models: str) -> list[LevelResult]:
    """The levels with one of these load models, such as `closed` or `open`; see `Level`."""
    return [level for level in levels if level.plan.model in models]


def over_websocket(run: Run, levels: Sequence[LevelResult], *exchanges: str) -> list[LevelResult]:
    """The levels of WebSocket workloads; with `exchanges`, of those that are made for one of them."""
    workloads = [run.meta.workload(level.workload) for level in levels]
    return [
        level
        for level, workload in zip(levels, workloads, strict=True)
        if workload.transport == "websocket" and (not exchanges or workload.exchange in exchanges)
    ]


def show_results(run: Run, levels: Sequence[LevelResult], *, such_as: str) -> None:
    """Shows what each level says in sentences, and its table.

    Args:
        run: where the levels are from.
        levels: to show.
        such_as: a workload that would have such a level, named where there is none.
    """
    console = Console()
    for level in levels:
        console.print(Text(level.title, style="bold"))
        console.print(Text("\n".join(findings(level, run.meta.workload(level.workload)))))
        console.print(standings_table(level))
    if not levels:
        _say_nothing_there(such_as)


def show_charts(run: Run, levels: Sequence[LevelResult], *names: str, such_as: str) -> None:
    """Shows the charts of some kinds, those of the report.

    Args:
        run: where the levels are from.
        levels: to draw.
        names: of kinds in `analysis.charts.registry`.
        such_as: a workload that would have such a chart, named where there is none.

    Raises:
        NothingToShow: no kind of chart has that name.
    """
    kinds = [_kind(name) for name in names]
    found = [(kind, view) for kind in kinds for view in _views(run, levels, kind) if kind.applies(view)]
    for kind, view in found:
        for chart in kind.draw(view):
            display(SVG(chart.svg()))  # type: ignore[no-untyped-call]  # IPython has no types
    if not found:
        _say_nothing_there(such_as)


def first_pair(levels: Sequence[LevelResult]) -> tuple[LevelResult, str, str]:
    """A level with a throughput, and the two subjects at its head that have an interval in common.

    Raises:
        NothingToShow: no level has two such subjects.
    """
    for level in levels:
        if level.metric.name != RPS.name:
            continue
        valid = [row.cell.subject for row in standings(level) if row.cell.valid and row.cell.lead]
        if len(valid) > 1 and compared(level, valid[0], valid[1]).low is not None:
            return level, valid[0], valid[1]
    raise NothingToShow(
        "No two subjects of this run can be compared: that needs two with a valid throughput in the same "
        "workload, and two blocks."
    )


def _kind(name: str) -> Kind:
    for kind in CHARTS:
        if kind.name == name:
            return kind
    raise NothingToShow(f"No chart is called {name!r}; there are: {', '.join(kind.name for kind in CHARTS)}.")


def _views(run: Run, levels: Sequence[LevelResult], kind: Kind) -> Iterator[View]:
    """The levels one by one, by workload, or all together, as the kind of chart wants them."""
    if not levels:
        return
    if kind.scope == "run":
        yield View(run, levels)
        return
    by_workload: dict[str, list[LevelResult]] = {}
    for level in levels:
        by_workload.setdefault(level.workload, []).append(level)
    for of_workload in by_workload.values():
        if kind.scope == "workload":
            yield View(run, of_workload)
        else:
            yield from (View(run, (level,)) for level in of_workload)


def _say_nothing_there(such_as: str) -> None:
    text = (
        f"Nothing to show here: that needs a workload such as {such_as}, and this run has no data of one. "
        f"`make bench WORKLOADS={such_as}` measures it."
    )
    Console().print(Text(text))
