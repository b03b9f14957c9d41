"""Reads claims files: statements with a source and the conditions under which a run supports them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field

from gatebench.registry.registry import matches
from gatebench.registry.servers import HYPHENATED
from gatebench.registry.toml import Fault, Many, Positive, Table, Text, check, form_of, like, load, one_of
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import Capability, Interface
from gatebench.words.text import listed, near

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gatebench.registry.registry import Registry
    from gatebench.results.schema import RunMeta


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


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on a figure, from above or from below."""

    value: float
    above: bool

    def __str__(self) -> str:
        return f"{'at most' if self.above else 'at least'} {self.value:,g}"


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


class Chosen(Table):
    """The subjects that a condition is about: those of an interface, those named, or all.

    Attributes:
        subjects: names and globs; a server's bare name stands for all of its subjects.
    """

    interface: Interface | None = None
    subjects: Many[Text] = ()
    scope: Scope = Field(alias="of")


class _Limited(Table):
    """A condition with a limit, from above or from below."""

    at_most: Positive | None = None
    at_least: Positive | None = None

    @property
    def limit(self) -> Limit:
        """The one that is given."""
        if self.at_most is not None:
            return Limit(self.at_most, above=True)
        return Limit(self.at_least or 0.0, above=False)


class FigureCondition(Chosen, _Limited):
    """A figure of every, some or none of the chosen subjects keeps to a limit.

    Attributes:
        level: empty for every level of the workload.
    """

    kind: Literal["figure"]
    metric: Annotated[str, one_of(METRICS)]
    workload: Text
    level: str = ""


class CapabilityCondition(Chosen):
    """Every, some or none of the chosen subjects have a capability, as the verification found."""

    kind: Literal["capability"]
    capability: Capability


class ServesCondition(Table):
    """Each server ran the application of that interface and kept its contract."""

    kind: Literal["serves"]
    servers: Many[Text]
    interface: Interface


class RatioCondition(_Limited):
    """Left over right, of the figure that leads the level, keeps to a limit."""

    kind: Literal["ratio"]
    left: Text
    right: Text
    workload: Text
    level: str = ""


class ApplicationRatioCondition(_Limited):
    """One application over another behind the same server, of the figure that leads the level."""

    kind: Literal["application-ratio"]
    left: Text
    right: Text
    workload: Text
    level: str = ""


class ApplicationCostCondition(Table):
    """The application takes at most that share of a request's time, against one that does nothing."""

    kind: Literal["application-cost"]
    application: Text
    bare: Text
    workload: Text
    at_most: Positive

    @property
    def limit(self) -> Limit:
        """The share."""
        return Limit(self.at_most, above=True)


Condition: TypeAlias = (
    FigureCondition
    | CapabilityCondition
    | ServesCondition
    | RatioCondition
    | ApplicationRatioCondition
    | ApplicationCostCondition
)
_ID_FORM = "is no claim's ID, which has lower-case letters, digits and -, a letter first"


class _ClaimTable(Table):
    text: Text
    source: Text
    conditions: dict[str, Annotated[Condition, form_of("kind", *get_args(Condition))]]


class _ClaimsFile(Table):
    version: int = Field(alias="schema")
    threads: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    claims: dict[Annotated[str, like(HYPHENATED, _ID_FORM)], _ClaimTable]


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement that somebody makes, and what of a run speaks for or against it.

    Attributes:
        source: who says so, with an address.
        conditions: the claim holds where all of them do.
        threads: subject → threads of one worker process, where its command does not say.
        shipped: one of the project's own, which nobody asked for.
    """

    id: str
    text: str
    source: str
    conditions: tuple[Condition, ...]
    threads: Mapping[str, int]
    shipped: bool = False


def load_claims(
    paths: Iterable[Path] = (), known: Known | None = None, kept: Iterable[Path] = ()
) -> tuple[Claim, ...]:
    """The repository's own claims and those of more files, in that order.

    Args:
        paths: files beside `CLAIMS_FILE`; the numbers under `threads` of a later file win.
        known: the names that `paths` may have; None where there is nothing to hold theirs against.
        kept: files that a run keeps, read before `paths`. Their names were checked when it began, against
            folders that need not be there any more.

    Raises:
        ConfigurationError: with every problem of every file, each with file and key.
    """
    problems: list[str] = []
    taken: dict[str, Path] = {}
    found: dict[str, _ClaimTable] = {}
    threads: dict[str, int] = {}
    own = tuple(paths)
    for path in dict.fromkeys((CLAIMS_FILE, *kept, *own)):
        data = load(path, problems)
        if data is None:
            continue
        together = partial(_faults, known if path in own else None, {**taken}, data)
        file = check(_ClaimsFile, data, path, problems, together)
        if isinstance(data.get("claims"), dict):
            taken |= dict.fromkeys(data["claims"], path)
        if file is not None:
            threads |= file.threads
            found |= file.claims
    if problems:
        raise ConfigurationError(problems)
    return tuple(
        Claim(
            name,
            each.text,
            each.source,
            tuple(each.conditions.values()),
            threads,
            shipped=taken[name] == CLAIMS_FILE,
        )
        for name, each in found.items()
    )


def _faults(
    known: Known | None, taken: Mapping[str, Path], data: Mapping[str, Any], file: Mapping[str, Any]
) -> Iterator[Fault]:
    """What does not go together in a file, whose values are right by themselves or left out.

    Args:
        known: the names that there are; None where they are not checked.
        taken: ID → the file that has such a claim already.
        data: the file as it stands.
        file: its data without what is wrong.
    """
    if file.get("schema", SCHEMA) != SCHEMA:
        yield ("schema",), f"must be {SCHEMA}, the version that this Gatebench reads"
    for subject in file.get("threads", ()):
        if known is not None and subject not in known.subjects:
            yield ("threads", subject), _unknown_subject(subject, known)
    for name, claim in file.get("claims", {}).items():
        if name in taken:
            yield ("claims", name), f"is in {taken[name]} already; choose another ID"
        if claim.get("conditions") == {}:
            yield ("claims", name, "conditions"), "has none; add a table such as [claims.ID.conditions.NAME]"
        for each, condition in claim.get("conditions", {}).items():
            given = data["claims"][name]["conditions"][each]
            for key, text in (*_condition_faults(condition, given), *_unknown_names(condition, known)):
                yield ("claims", name, "conditions", each, key), text


def _condition_faults(condition: Mapping[str, Any], given: Collection[str]) -> Iterator[tuple[str, str]]:
    """`given` are the keys with a value, right or wrong."""
    kind = condition.get("kind")
    if kind in {"figure", "ratio", "application-ratio"} and ("at_most" in given) == ("at_least" in given):
        yield "at_most", "give either at_most or at_least"
    if kind == "application-cost" and condition.get("at_most", 0) >= 1:
        yield "at_most", "is a share of a request's time, over 0 and under 1"
    if condition.get("of") == "none" and condition.get("capability") not in {None, *REFUSABLE}:
        yield "of", f'"none" cannot be checked: only the absence of {listed(REFUSABLE)} is verified'


def _unknown_names(condition: Mapping[str, Any], known: Known | None) -> Iterator[tuple[str, str]]:
    """Every key of a condition that names what does not exist, and what is told of it."""
    if known is None:
        return
    of_applications = condition.get("kind") == "application-ratio"
    for key in () if of_applications else ("left", "right"):
        if key in condition and condition[key] not in known.subjects:
            yield key, _unknown_subject(condition[key], known)
    for key in ("left", "right") if of_applications else ("application", "bare"):
        if key in condition and condition[key] not in known.applications:
            yield key, _unknown("application", condition[key], known.applications)
    yield from _unknown_choices(condition, known)
    workload, level = condition.get("workload"), condition.get("level")
    if workload and workload not in known.levels:
        yield "workload", _unknown("workload", workload, known.levels)
    elif workload and level and level not in (levels := known.levels[workload]):
        yield "level", f'{workload} has no level "{level}"{near(level, levels)}; it has {listed(levels)}'


def _unknown_choices(condition: Mapping[str, Any], known: Known) -> Iterator[tuple[str, str]]:
    interface = condition.get("interface")
    for name in condition.get("servers", ()):
        if name not in known.servers:
            yield "servers", _unknown("server", name, known.servers)
        elif interface and interface not in known.servers[name]:
            has = listed(sorted(known.servers[name]))
            yield "servers", f"{name} has no variant for {interface}; it has {has}"
    for pattern in condition.get("subjects", ()):
        found = matches(pattern, tuple(known.subjects), whole_servers=True)
        if not found:
            yield "subjects", _unknown_subject(pattern, known)
        elif interface and interface not in {known.subjects[each] for each in found}:
            yield "subjects", f'"{pattern}" names no subject of interface = "{interface}"'


def _unknown_subject(name: str, known: Known) -> str:
    """What is told of a name that is no subject's ID."""
    variants = sorted(matches(name, tuple(known.subjects), whole_servers=True))
    if variants:
        some = [each for each in variants if "+" not in each] or variants
        return f'"{name}" is no subject but has several: {listed(some)}; name one of them'
    return f'unknown subject "{name}"{near(name, known.subjects)}; `gatebench list` shows them'


def _unknown(kind: str, name: str, names: Collection[str]) -> str:
    return f'unknown {kind} "{name}"{near(name, names)}; known: {listed(sorted(names))}'
