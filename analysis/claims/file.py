"""Reads claims files: statements with a source and the conditions under which a run supports them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

from gatebench.registry.registry import matches
from gatebench.registry.servers import HYPHENATED
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import CAPABILITIES, INTERFACES, Capability, Interface
from gatebench.words.text import listed, near
from gatebench.words.toml import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from analysis.load.meta import RunMeta
    from gatebench.registry.registry import Registry


SCHEMA = 1
CLAIMS_FILE = Path(__file__).with_name("claims.toml")
REFUSABLE: tuple[Capability, ...] = ("keep-alive", "websocket")
"""Capabilities whose absence the verification checks as well (`gatebench.contract.verify`)."""
PER_WORKER, PER_THREAD = "waiting_per_worker", "waiting_per_thread"
METRICS: Mapping[str, str] = {
    "rps": "requests/s",
    "p50": "µs of latency p50",
    "p90": "µs of latency p90",
    "p99": "µs of latency p99",
    "p999": "µs of latency p99.9",
    "max": "µs of the longest latency",
    "requests_per_connection": "requests a connection",
    "cpu_us_per_request": "µs of the server's CPU time a request",
    "memory_mib": "MiB of server memory",
    "mib_per_s": "MiB/s of bodies",
    PER_WORKER: "requests waiting at once in a worker process",
    PER_THREAD: "requests waiting at once for each thread",
}
"""Figures that a condition may name → what they count, in words with their unit."""

Scope = Literal["every", "some", "none"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
KINDS = ("figure", "capability", "serves", "ratio", "application-cost")


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on a figure, from above or from below."""

    value: float
    above: bool

    def __str__(self) -> str:
        return f"{'at most' if self.above else 'at least'} {self.value:,g}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The subjects that a condition is about: those of an interface, those named, or all.

    Attributes:
        subjects: names and globs; a server's bare name stands for all of its subjects.
    """

    interface: Interface | None
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FigureCondition:
    """A figure of every, some or none of the chosen subjects keeps to a limit.

    Attributes:
        level: empty for every level of the workload.
    """

    metric: str
    workload: str
    level: str
    chosen: Chosen
    scope: Scope
    limit: Limit


@dataclass(frozen=True, slots=True)
class CapabilityCondition:
    """Every, some or none of the chosen subjects have a capability, as the verification found."""

    capability: Capability
    chosen: Chosen
    scope: Scope


@dataclass(frozen=True, slots=True)
class ServesCondition:
    """Each server ran the application of that interface and kept its contract."""

    servers: tuple[str, ...]
    interface: Interface


@dataclass(frozen=True, slots=True)
class RatioCondition:
    """Left over right, of the figure that leads the level, keeps to a limit."""

    left: str
    right: str
    workload: str
    level: str
    limit: Limit


@dataclass(frozen=True, slots=True)
class ApplicationCostCondition:
    """The application takes at most that share of a request's time, against one that does nothing."""

    application: str
    bare: str
    workload: str
    limit: Limit


Condition: TypeAlias = (
    FigureCondition | CapabilityCondition | ServesCondition | RatioCondition | ApplicationCostCondition
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement that somebody makes, and what of a run speaks for or against it.

    Attributes:
        source: who says so, with an address.
        conditions: the claim holds where all of them do.
        threads: subject → threads of one worker process, where its command does not say.
    """

    id: str
    text: str
    source: str
    conditions: tuple[Condition, ...]
    threads: Mapping[str, int]


def load_claims(
    paths: Iterable[Path] = (), check: NameCheck | None = None, kept: Iterable[Path] = ()
) -> tuple[Claim, ...]:
    """The repository's own claims and those of more files, in that order.

    Args:
        paths: files beside `CLAIMS_FILE`; the numbers under `threads` of a later file win.
        check: held against the names in `paths` (`analysis.claims.file`); None where there is nothing to
            hold them against.
        kept: files that a run keeps, read before `paths`. Their names were checked when it began, against
            folders that need not be there any more.

    Raises:
        ConfigurationError: with every problem of every file, each with file and key.
    """
    problems: list[str] = []
    found: dict[str, tuple[Path, _Body]] = {}
    threads: dict[str, int] = {}
    own = tuple(paths)
    for path in dict.fromkeys((CLAIMS_FILE, *kept, *own)):
        table = Table.load(path, problems)
        if table is None:
            continue
        asked = check if path in own else None
        if table.integer("schema", 0, 0) != SCHEMA:
            table.problem("schema", f"must be {SCHEMA}, the version that this Gatebench reads")
        counts = table.table("threads", required=False)
        threads |= {subject: counts.integer(subject, 1, 1) for subject in counts}
        if asked is not None:
            for subject in counts:
                if problem := asked.subject(subject):
                    counts.problem(subject, problem)
        for name, entry in table.tables("claims").items():
            if not HYPHENATED.fullmatch(name):
                table.problem(f"claims.{name}", "a claim's ID has lower-case letters, digits and -")
            if name in found:
                table.problem(f"claims.{name}", f"is in {found[name][0]} already; choose another ID")
            found[name] = (path, _claim(entry, asked))
        table.finish()
    if problems:
        raise ConfigurationError(problems)
    return tuple(
        Claim(name, body.text, body.source, body.conditions, threads) for name, (_, body) in found.items()
    )


class NameCheck(Protocol):
    """Knows which names there are."""

    def condition(self, condition: Condition) -> Iterator[tuple[str, str]]:
        """Every key of a condition that names what does not exist, and what is to be told of it."""

    def subject(self, name: str) -> str:
        """What is to be told of a name that is no subject's ID; empty where it is one."""


@dataclass(frozen=True, slots=True)
class _Body:
    text: str
    source: str
    conditions: tuple[Condition, ...]


def _claim(table: Table, check: NameCheck | None) -> _Body:
    text, source = table.string("text"), table.string("source")
    conditions = tuple(_condition(each, check) for each in table.tables("conditions").values())
    if "conditions" in table and not conditions:
        table.problem("conditions", "has none; add a table such as [claims.ID.conditions.NAME]")
    table.finish()
    return _Body(text, source, conditions)


def _condition(table: Table, check: NameCheck | None) -> Condition:
    kind = table.choice("kind", KINDS)
    condition: Condition
    if kind == "figure":
        condition = _figure(table)
    elif kind == "capability":
        condition = _capability(table)
    elif kind == "serves":
        condition = ServesCondition(table.strings("servers"), table.choice("interface", INTERFACES))
    elif kind == "ratio":
        left, right = table.string("left"), table.string("right")
        workload, level = table.string("workload"), table.text("level")
        condition = RatioCondition(left, right, workload, level, _limit(table))
    else:
        application, bare = table.string("application"), table.string("bare")
        limit = Limit(table.number("at_most", 0.0) if "at_most" in table else 1.0, above=True)
        if not 0 < limit.value < 1:
            table.problem("at_most", "is a share of a request's time, over 0 and under 1; it must be given")
        condition = ApplicationCostCondition(application, bare, table.string("workload"), limit)
    if check is not None:
        for key, text in check.condition(condition):
            table.problem(key, text)
    table.finish()
    return condition


def _figure(table: Table) -> FigureCondition:
    return FigureCondition(
        metric=table.choice("metric", tuple(METRICS)),
        workload=table.string("workload"),
        level=table.text("level"),
        chosen=_chosen(table),
        scope=table.choice("of", SCOPES),
        limit=_limit(table),
    )


def _capability(table: Table) -> CapabilityCondition:
    capability, scope = table.choice("capability", CAPABILITIES), table.choice("of", SCOPES)
    if scope == "none" and capability not in REFUSABLE:
        text = f'"none" cannot be checked: only the absence of {listed(REFUSABLE)} is verified'
        table.problem("of", text)
    return CapabilityCondition(capability, _chosen(table), scope)


def _chosen(table: Table) -> Chosen:
    interface: Interface | None = None
    if "interface" in table:
        before = len(table.problems)
        chosen = table.choice("interface", INTERFACES)
        interface = chosen if len(table.problems) == before else None
    return Chosen(interface, table.strings("subjects", ()))


def _limit(table: Table) -> Limit:
    given = [key for key in ("at_most", "at_least") if key in table]
    values = {key: table.number(key, 1.0) for key in ("at_most", "at_least")}
    if len(given) != 1:
        table.problem("at_most", "give either at_most or at_least")
        return Limit(1.0, above=True)
    return Limit(values[given[0]], above=given[0] == "at_most")


Problem = tuple[str, str]
"""A key of a condition, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a claim may speak of.

    Attributes:
        subjects: ID → its interface.
        servers: name → the interfaces of its variants.
        applications: their names.
        levels: workload → the IDs of its levels.
    """

    subjects: Mapping[str, str]
    servers: Mapping[str, frozenset[str]]
    applications: frozenset[str]
    levels: Mapping[str, tuple[str, ...]]

    @classmethod
    def of_registry(cls, registry: Registry) -> Known:
        """What folders register, every server with every application."""
        subjects = registry.subjects(tuple(registry.applications))
        return cls(
            {subject.id: subject.variant.interface for subject in subjects},
            {
                name: frozenset(variant.interface for variant in server.variants)
                for name, server in registry.servers.items()
            },
            frozenset(registry.applications),
            {
                name: tuple(level.id for level in workload.levels)
                for name, workload in registry.workloads.items()
            },
        )

    @classmethod
    def of_run(cls, meta: RunMeta) -> Known:
        """What a run has, whatever has become of its folders."""
        servers: dict[str, set[str]] = defaultdict(set)
        levels: dict[str, list[str]] = {workload.name: [] for workload in meta.workloads}
        for subject in meta.competitors:
            servers[subject.server].add(subject.interface)
        for plan in meta.levels:
            levels[plan.workload].append(plan.level)
        return cls(
            {subject.id: subject.interface for subject in meta.competitors},
            {name: frozenset(interfaces) for name, interfaces in servers.items()},
            frozenset(subject.app for subject in meta.competitors),
            {name: tuple(ids) for name, ids in levels.items()},
        )

    def __or__(self, other: Known) -> Known:
        """What either knows."""
        servers = {*self.servers, *other.servers}
        workloads = {*self.levels, *other.levels}
        return Known(
            {**self.subjects, **other.subjects},
            {
                name: self.servers.get(name, frozenset()) | other.servers.get(name, frozenset())
                for name in servers
            },
            self.applications | other.applications,
            {
                name: tuple(dict.fromkeys((*self.levels.get(name, ()), *other.levels.get(name, ()))))
                for name in workloads
            },
        )

    def condition(self, condition: Condition) -> Iterator[Problem]:
        """Every key of a condition that names what does not exist, and what is to be told of it."""
        return _unknown_names(condition, self)

    def subject(self, name: str) -> str:
        """What is to be told of a name that is no subject's ID; empty where it is one."""
        return "" if name in self.subjects else _unknown_subject(name, self)


def _unknown_names(condition: Condition, known: Known) -> Iterator[Problem]:
    """Every name in a condition that nothing bears; names that are missing were reported when it was read."""
    if isinstance(condition, ServesCondition):
        yield from _servers(condition, known)
        return
    if isinstance(condition, RatioCondition):
        for key, name in (("left", condition.left), ("right", condition.right)):
            if name and name not in known.subjects:
                yield key, _unknown_subject(name, known)
    elif isinstance(condition, ApplicationCostCondition):
        for key, name in (("application", condition.application), ("bare", condition.bare)):
            if name and name not in known.applications:
                yield key, _unknown("application", name, known.applications)
    else:
        yield from _chosen_names(condition.chosen, known)
    if isinstance(condition, FigureCondition | RatioCondition):
        yield from _level(condition.workload, condition.level, known)
    elif isinstance(condition, ApplicationCostCondition):
        yield from _level(condition.workload, "", known)


def _unknown_subject(name: str, known: Known) -> str:
    """What is told of a name that is no subject's ID."""
    variants = sorted(matches(name, tuple(known.subjects), whole_servers=True))
    if variants:
        some = [each for each in variants if "+" not in each] or variants
        return f'"{name}" is no subject but has several: {listed(some)}; name one of them'
    return f'unknown subject "{name}"{near(name, known.subjects)}; `gatebench list` shows them'


def _unknown(kind: str, name: str, names: frozenset[str]) -> str:
    return f'unknown {kind} "{name}"{near(name, names)}; known: {listed(sorted(names))}'


def _servers(condition: ServesCondition, known: Known) -> Iterator[Problem]:
    for name in condition.servers:
        if name not in known.servers:
            yield "servers", _unknown("server", name, frozenset(known.servers))
        elif condition.interface not in known.servers[name]:
            has = listed(sorted(known.servers[name]))
            yield "servers", f"{name} has no variant for {condition.interface}; it has {has}"


def _chosen_names(chosen: Chosen, known: Known) -> Iterator[Problem]:
    ids = tuple(known.subjects)
    for pattern in chosen.subjects:
        found = matches(pattern, ids, whole_servers=True)
        if not found:
            yield "subjects", _unknown_subject(pattern, known)
        elif chosen.interface and chosen.interface not in {known.subjects[each] for each in found}:
            yield "subjects", f'"{pattern}" names no subject of interface = "{chosen.interface}"'


def _level(workload: str, level: str, known: Known) -> Iterator[Problem]:
    if not workload:
        return
    if workload not in known.levels:
        yield "workload", _unknown("workload", workload, frozenset(known.levels))
    elif level and level not in known.levels[workload]:
        levels = known.levels[workload]
        yield "level", f'{workload} has no level "{level}"{near(level, levels)}; it has {listed(levels)}'
