"""What is found of a run: cells, levels, places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from analysis.figures.gates import FigureName
from analysis.figures.leads import Metric
from analysis.figures.statistics import MIN_EFFECT, Comparison, Estimate
from analysis.reading.tables import NONE, Details
from gatebench.results.schema import LevelPlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analysis.figures.statistics import Comparison, Verdict


FigureStatus = Literal["ok", "limited", "withheld"]
FIGURE_STATUSES: tuple[FigureStatus, ...] = ("ok", "limited", "withheld")
"""The best first."""
Status = Literal["ok", "limited", "withheld", "failed", "unavailable", "unsupported"]
"""From the best to the least that can be said of a cell: with figures, or without any."""

LATENCY_NAMES = ("p50", "p90", "p99", "p999", "max")


@dataclass(frozen=True, slots=True)
class Judged:
    """Whether one figure of a cell may be published.

    Attributes:
        status: `limited` for a figure that holds, of a server that something of its own kept from more;
            `withheld` for one that the instrument or the machine spoiled, or wrong answers did.
        reasons: of the gates that say so, as in the cell's own.
    """

    status: FigureStatus = "ok"
    reasons: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        """The gate that says so; empty for `ok`."""
        return self.reasons[0].partition(":")[0] if self.reasons else ""


@dataclass(frozen=True, slots=True)
class CellResult:
    """One row of the result. A figure that was not measured, or is withheld, is None; `reasons` says why.

    Attributes:
        status: the best that is true of any of its figures.
        figures: what the gates say of each of them; empty for a cell that was not measured.
        leading: the one that the level is ranked by.
        reasons: each begins with a code of METHOD.md and a colon.
        loop: the event loop that the subject was seen to run on; empty where nobody looked, and for WSGI.
        blocks: blocks with at least one slice that counts.
        rps: correct answers a second inside the window; None where no one rate was sent.
        lead: the figure that the level is ranked by (`analysis.figures.leads`), with its interval.
        latency_us: p50, p90, p99, p999 and max, from the moment a request was to be sent.
        typical: at one rate for all, the percentiles of a block (`leads.typical_percentiles`); they
            are shown instead of those of all blocks together.
        service_us: the same from the moment it was sent; open loops only.
        last_us: the same to the last subscriber of a broadcast.
        mib_per_s: bodies of requests and answers.
        cpu: CPU time of the server in µs a correct answer, with its interval over blocks.
        memory_mib: of processes or of a container; `analysis.surroundings.memory_note` says which.
        memory_peak_mib: of containers only.
        fit: R² of the line through memory over idle connections, of the worst block.
        details: examples of its failures, and what a Locust file did by name.
    """

    subject: str
    server: str
    app: str
    interface: str
    workload: str
    level: str
    status: Status
    reasons: tuple[str, ...] = ()
    blocks: int = 0
    requests: int | None = None
    errors: Mapping[str, int] | None = None
    rps: Estimate | None = None
    lead: Estimate | None = None
    latency_us: Mapping[str, float | None] = field(default_factory=lambda: dict.fromkeys(LATENCY_NAMES))
    typical: Mapping[str, Estimate | None] = field(default_factory=dict)
    service_us: Mapping[str, float | None] = field(default_factory=lambda: dict.fromkeys(LATENCY_NAMES))
    last_us: Mapping[str, float | None] = field(default_factory=lambda: dict.fromkeys(LATENCY_NAMES))
    mib_per_s: float | None = None
    fit: float | None = None
    requests_per_connection: float | None = None
    cpu: Estimate | None = None
    memory_mib: float | None = None
    memory_peak_mib: float | None = None
    details: Details = NONE
    figures: Mapping[FigureName, Judged] = field(default_factory=dict)
    leading: FigureName = "rps"
    loop: str = ""

    @property
    def cpu_us_per_request(self) -> float | None:
        """CPU time of the server a correct answer."""
        return self.cpu.estimate if self.cpu else None

    def status_of(self, figure: FigureName | None) -> Status:
        """What may be said of one figure; None stands for what no gate refuses."""
        if figure is None or figure not in self.figures:
            return self.status
        return self.figures[figure].status

    def code_of(self, figure: FigureName | None) -> str:
        """The gate that limits or withholds a figure; of another figure, the code of the first reason."""
        judged = self.figures.get(figure) if figure is not None else None
        if judged is not None and judged.reasons:
            return judged.code
        return self.reasons[0].partition(":")[0] if self.reasons else ""

    @property
    def lead_status(self) -> Status:
        """What may be said of the leading figure."""
        return self.status_of(self.leading)

    @property
    def valid(self) -> bool:
        """Whether the leading figure may be compared and ranked."""
        return self.lead_status == "ok"

    @property
    def shown(self) -> bool:
        """Whether the leading figure may be shown, as a finding at least."""
        return self.lead_status in {"ok", "limited"}

    @property
    def code(self) -> str:
        """The code of the first reason that concerns the leading figure; empty where there is none."""
        return self.code_of(self.leading)

    def figure(self, name: str) -> float | None:
        """The figure that `analysis.figures.leads` calls by that name."""
        if name in self.typical:
            typical = self.typical[name]
            return typical.estimate if typical else None
        if name in LATENCY_NAMES:
            return self.latency_us[name]
        clock, _, quantile = name.partition("_")
        if quantile in LATENCY_NAMES and clock in {"service", "last"}:
            return (self.service_us if clock == "service" else self.last_us)[quantile]
        lead = self.lead.estimate if self.lead else None
        figures = {
            "rps": self.rps.estimate if self.rps else None,
            "within_objective": lead,
            "connection_kib": lead,
            "mib_per_s": self.mib_per_s,
            "fit": self.fit,
            "requests_per_connection": self.requests_per_connection,
            "cpu_us_per_request": self.cpu_us_per_request,
            "memory_mib": self.memory_mib,
            "memory_peak_mib": self.memory_peak_mib,
        }
        return figures[name]


@dataclass(frozen=True, slots=True)
class Noise:
    """The check of a level by one server that was measured twice, as two subjects.

    Attributes:
        subject: that server.
        band: the ratio over 1 up to which no effect of the level is called a difference: 3 %, or more where
            the two were told apart.
        ratio: of the two copies; None without a common block.
        low, high: its interval, which holds together with those of all pairs; None under three blocks.
    """

    subject: str
    band: float
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def told_apart(self) -> bool:
        """Whether the run tells a server from itself: something other than chance differs by that much."""
        return self.band > MIN_EFFECT


@dataclass(frozen=True, slots=True)
class LevelResult:
    """The cells and the comparisons of one level of one workload.

    Attributes:
        plan: how it was loaded.
        rounds: the fewest and the most rounds of a block that counts; (0, 0) without one.
        metric: what the level is ranked by.
        cells: one a subject, in the order of the run.
        comparisons: of that metric, every pair of cells in which it is `ok`, in alphabetical order.
        noise: None in a run that measured no server twice, or where one of the two copies is not valid.
        limit: the null responder's figures in the same rounds (`limits.limit_of`): the most that the
            instrument can do here, and the least response time; None where it was not measured.
        percentiles: at one rate for all, the same level ranked by p50 and by p90 of the response time: p99 is
            what a server's worst answers and the machine's make of it, and tells few servers apart.
    """

    plan: LevelPlan
    metric: Metric
    rounds: tuple[int, int]
    cells: tuple[CellResult, ...]
    comparisons: tuple[Comparison, ...]
    noise: Noise | None = None
    limit: CellResult | None = None
    percentiles: tuple[LevelResult, ...] = ()

    @property
    def workload(self) -> str:
        """The workload's name."""
        return self.plan.workload

    @property
    def level(self) -> str:
        """The level's ID."""
        return self.plan.level

    @property
    def title(self) -> str:
        """Workload and load in words: `keep-alive, 64 connections`."""
        return f"{self.workload}, {self.plan.load}"


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole result of a run; `analysis.figures.summary.as_json` gives its file form."""

    run: str
    runner: str
    profile: str
    seed: int
    levels: tuple[LevelResult, ...]

    @property
    def cells(self) -> tuple[CellResult, ...]:
        """All cells, level by level."""
        return tuple(cell for level in self.levels for cell in level.cells)


_ORDER: tuple[Status, ...] = ("ok", "limited", "withheld", "failed", "unavailable", "unsupported")
_INVERSE: dict[Verdict, Verdict] = {"higher": "lower", "lower": "higher"}


@dataclass(frozen=True, slots=True)
class Standing:
    """One cell in the order of a level.

    Attributes:
        best: the best place that the verdicts leave open: one more than the subjects proven better. None
            for a figure that is not `ok`, and for one with too few blocks to be compared with any other.
        worst: the worst place they leave open.
        leads: whether it is the leader or a tie with it.
        ties: the subjects that it ties with.
    """

    cell: CellResult
    best: int | None
    worst: int | None
    leads: bool
    ties: frozenset[str] = frozenset()

    @property
    def places(self) -> str:
        """`1`, or `2 to 4` where ties leave it open; empty without a place."""
        if self.best is None:
            return ""
        return str(self.best) if self.best == self.worst else f"{self.best} to {self.worst}"


def ordered(level: LevelResult) -> list[CellResult]:
    """The cells for display: by the leading figure, those without one by what became of them and by name.

    A limited figure stands where its value puts it.
    """
    sign = -1 if level.metric.better == "higher" else 1

    def place(cell: CellResult) -> tuple[bool, float, int, str]:
        lead = cell.lead if cell.shown else None
        return (
            lead is None,
            sign * lead.estimate if lead else 0.0,
            _ORDER.index(cell.lead_status),
            cell.subject,
        )

    return sorted(level.cells, key=place)


def compared(level: LevelResult, left: str, right: str) -> Comparison:
    """The comparison of two valid subjects, whichever of them is its left one."""
    return next(pair for pair in level.comparisons if {pair.left, pair.right} == {left, right})


def verdict_on(level: LevelResult, subject: str, other: str) -> Verdict:
    """What is known of `subject`'s figure against that of `other`: higher, lower, tie, or too little data."""
    pair = compared(level, subject, other)
    return pair.verdict if pair.left == subject else _INVERSE.get(pair.verdict, pair.verdict)


def standings(level: LevelResult) -> list[Standing]:
    """Every cell of the level in the order of display, the valid ones with their places."""
    cells = ordered(level)
    decided = [pair for pair in level.comparisons if pair.verdict != "not enough data"]
    comparable = {subject for pair in decided for subject in (pair.left, pair.right)}
    ranked = [cell for cell in cells if cell.subject in comparable]
    better = level.metric.better
    # Looking each pair up in the level would take seconds where there are thousands.
    known: dict[tuple[str, str], Verdict] = {}
    for pair in level.comparisons:
        known[pair.left, pair.right] = pair.verdict
        known[pair.right, pair.left] = _INVERSE.get(pair.verdict, pair.verdict)
    rows: list[Standing] = []
    for cell in cells:
        if cell.subject not in comparable:
            rows.append(Standing(cell, None, None, leads=False))
            continue
        others = [other.subject for other in ranked if other is not cell]
        verdicts = [known[cell.subject, other] for other in others]
        ties = frozenset(other for other in others if known[cell.subject, other] == "tie")
        leads = cell is ranked[0] or ranked[0].subject in ties
        best, worst = 1 + verdicts.count(_INVERSE[better]), len(ranked) - verdicts.count(better)
        rows.append(Standing(cell, best, worst, leads, ties))
    return rows


def tied_runs(rows: Sequence[Standing]) -> list[tuple[int, int]]:
    """First and last index of each run of neighbors that all tie with each other, the longest possible ones.

    Two runs may overlap: a tie with two subjects does not make those a tie. Rows without a place are stepped
    over: they tie with nobody, and hide no tie of those around them.
    """
    ranked = [number for number, row in enumerate(rows) if row.best is not None]
    runs: list[tuple[int, int]] = []
    for start in range(len(ranked)):
        end = start
        while end + 1 < len(ranked) and all(
            rows[ranked[end + 1]].cell.subject in rows[number].ties for number in ranked[start : end + 1]
        ):
            end += 1
        if end > start and (not runs or ranked[end] > runs[-1][1]):
            runs.append((ranked[start], ranked[end]))
    return runs


ClaimVerdict: TypeAlias = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """What one run says of one claim; `evidence` is sentences with figures."""

    id: str
    text: str
    source: str
    verdict: ClaimVerdict
    evidence: str
