"""Whether running servers are at rest, keep the contract, and what interface they hand to an application."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatebench.contract.own import Told
from gatebench.contract.rules import Contract, Scope
from gatebench.contract.site import Check, Fetched, Listening, Site
from gatebench.contract.verify import Difference
from gatebench.machine.processes import Composition
from gatebench.results.observed import ObservedMeta
from gatebench.runners.base import Around, Instance
from gatebench.words.errors import ServerFailure
from gatebench.words.footing import NOT_OBSERVED, OWN, SHARED_OBJECTS, loop_of
from gatebench.words.interface_keys import need
from gatebench.words.model import Cell, Expects, Interface, Request, Workload
from gatebench.words.paths import SERVER_FILE

LOOK_S = 0.3
IDLE_SHARE = 0.02
"""Of one core. Servers that wait for requests used under 0.01: they look after their workers now and then."""
REST_TIMEOUT_S = 15.0


def at_rest(before_s: float | None, after_s: float | None, look_s: float = LOOK_S) -> bool:
    """Whether a server did nothing between two readings of its CPU time.

    Where the time shrank, or could not be read, a process of the server has just ended.
    """
    return before_s is not None and after_s is not None and 0 <= after_s - before_s <= IDLE_SHARE * look_s


def await_rest(instances: Sequence[Instance], timeout_s: float = REST_TIMEOUT_S) -> list[Instance]:
    """Waits until all of the servers are at rest at once; returns those that are not in time.

    All at once, since a worker that has to wait for a core would seem to rest. One whose CPU time cannot be
    read is not returned.
    """
    deadline = time.monotonic() + timeout_s
    before = [_used_s(each) for each in instances]
    while instances:
        time.sleep(LOOK_S)
        after = [_used_s(each) for each in instances]
        readings = list(zip(instances, before, after, strict=True))
        busy = [each for each, was_s, is_s in readings if not at_rest(was_s, is_s)]
        if not busy:
            break
        if time.monotonic() >= deadline:
            unread = {id(each) for each, was_s, is_s in readings if was_s is None and is_s is None}
            return [each for each in busy if id(each) not in unread]
        before = after
    return []


def at_work(instances: Sequence[Instance], look_s: float = LOOK_S) -> dict[str, float]:
    """The servers that work although nobody asks them anything: subject → share of a core that it uses.

    What one does so is taken from every other server on its core. Two looks, of which the lower counts: a
    server may still be busy with what it was asked last.
    """
    shares: dict[str, float] = {}
    looked = list(instances)
    for _ in range(2):
        began = time.monotonic()
        before = [each.counters(Around()).cpu_s for each in looked]
        time.sleep(look_s)
        after = [each.counters(Around()).cpu_s for each in looked]
        lasted_s = time.monotonic() - began
        used = zip(looked, before, after, strict=True)
        shares = {
            each.subject.id: min((is_s - was_s) / lasted_s, shares.get(each.subject.id, 1.0))
            for each, was_s, is_s in used
            if was_s is not None and is_s is not None and not at_rest(was_s, is_s, lasted_s)
        }
        looked = [each for each in looked if each.subject.id in shares]
        if not looked:
            break
    return shares


def in_words(subject: str, share: float) -> str:
    """That a server works at rest, what that does, and what helps."""
    return (
        f"{subject} works although nobody asks it anything: it takes {share:.0%} of a core from every server "
        "beside it. Slices in which that shows are left out, or the figure is refused (shared-core); measure "
        "with --exclusive, or that server apart from the others"
    )


def _used_s(instance: Instance) -> float | None:
    """CPU seconds of all the server's processes, those that it has just started included."""
    instance.settle()
    return instance.counters(Around()).cpu_s


READY_TIMEOUT_S = 30.0
READY_STEP_S = 0.5
"""Between two looks at whether the servers that do not answer yet are still alive."""
CASE_TIMEOUT_S = 10.0
MOST_LIKEWISE = 6
"""Requests that are named beside the first that a difference was found in."""


def describe(differences: Sequence[Difference]) -> str:
    """The differences from the contract, a line each; of requests with the same, the first in full."""
    alike: dict[tuple[str, str], list[Difference]] = {}
    for each in differences:
        alike.setdefault((each.aspect, each.got), []).append(each)
    return "\n".join(_printable(f"{first}{_likewise(others)}") for first, *others in alike.values())


def _likewise(others: Sequence[Difference]) -> str:
    """` (likewise GET /a, GET /b and 3 others)`; nothing without others."""
    if not others:
        return ""
    named = [each.case for each in others[:MOST_LIKEWISE]]
    more = len(others) - len(named)
    return f" (likewise {', '.join(named)}{f', and {more} more' if more else ''})"


def _printable(text: str) -> str:
    """Text on one line: a request may send line feeds."""
    return "".join(each if each.isprintable() else " " for each in text)


def scopes_of(cells: Iterable[Cell], contract: Contract) -> dict[str, Scope]:
    """ID of a subject → the part of the contract that its cells use; without those that may use all of it."""
    workloads: dict[str, list[Workload]] = {}
    for cell in cells:
        workloads.setdefault(cell.subject.id, []).append(cell.workload)
    found = {subject: contract.scope_of(used) for subject, used in workloads.items()}
    return {subject: scope for subject, scope in found.items() if scope is not None}


def asks_of(cells: Iterable[Cell]) -> dict[str, tuple[Request, ...]]:
    """ID of a subject → the requests of its cells whose answers the workloads themselves say, each once."""
    asked: dict[str, dict[Request, None]] = {}
    for cell in cells:
        asked.setdefault(cell.subject.id, {}).update(dict.fromkeys(cell.workload.own_requests))
    return {subject: tuple(requests) for subject, requests in asked.items() if requests}


def hold_to_contract(
    instance: Instance,
    site: Site,
    *,
    thorough: bool,
    scope: Scope | None = None,
    asks: Sequence[Request] = (),
) -> None:
    """Waits until a server answers, and holds it to the contract, or to the part of it that `scope` names.

    It is also held to what workloads say themselves, with which it is asked `asks`.

    Raises:
        ServerFailure: it never got ready, ended, or differs from the contract; with its last log lines.
    """
    scopes = {instance.subject.id: scope} if scope else None
    own = {instance.subject.id: tuple(asks)}
    for _, failure in hold_all_to_contract([instance], site, thorough=thorough, scopes=scopes, asks=own):
        raise failure


def hold_all_to_contract(
    instances: Sequence[Instance],
    site: Site,
    *,
    thorough: bool,
    scopes: Mapping[str, Scope] | None = None,
    asks: Mapping[str, tuple[Request, ...]] | None = None,
) -> list[tuple[Instance, ServerFailure]]:
    """Holds several servers to the contract at the same time; returns those that fail.

    Args:
        instances: the servers.
        site: asks them.
        thorough: also asks what is left out before a block.
        scopes: ID of a subject → the part of the contract that it is held to; all of it where none is named.
        asks: ID of a subject → what else it is asked, whose answer a workload says.
    """
    of_subject = {each.subject.id: _check(each, scopes or {}, asks or {}) for each in instances}
    answering, failures = _wait_until_ready(instances, site, of_subject)
    checks = [of_subject[each.subject.id] for each in answering]
    differences = site.verify(checks, thorough=thorough, timeout_s=CASE_TIMEOUT_S)
    restless = await_rest([each for each in answering if each.workers > 1])
    for instance, found in zip(answering, differences, strict=True):
        # First of all whether it is this server that answered: a port can be somebody else's by now.
        if fault := instance.fault():
            failures.append((instance, failed(instance, "died", fault)))
        elif found:
            failures.append((instance, failed(instance, "contract", describe(found))))
        elif instance in restless:
            why = (
                f"the server did not come to rest within {REST_TIMEOUT_S:g} s of its first answers, so it "
                f"is not known whether all of its {instance.workers} worker processes serve"
            )
            failures.append((instance, failed(instance, "start", why)))
        else:
            instance.settle()
    return failures


def await_answers(instances: Sequence[Instance], site: Site) -> list[tuple[Instance, ServerFailure]]:
    """Waits until null responders answer, which nobody verifies further; returns those that do not."""
    of_subject = {each.subject.id: _check(each, {}, {}) for each in instances}
    answering, failures = _wait_until_ready(instances, site, of_subject)
    for instance in answering:
        instance.settle()
    return failures


def listen_to(
    instances: Sequence[Instance], site: Site, asks: Mapping[str, tuple[Request, ...]]
) -> tuple[dict[str, list[tuple[Told, ...]]], list[tuple[Instance, ServerFailure]]]:
    """Waits until servers answer, and asks them what they answer.

    Args:
        instances: the servers.
        site: asks them.
        asks: ID of a subject → what it is asked.

    Returns:
        ID of a subject → for each of its requests the different answers; and the servers that never answered.
    """
    of_subject = {each.subject.id: _check(each, {}, asks, only_asks=True) for each in instances}
    answering, failures = _wait_until_ready(instances, site, of_subject)
    heard = site.listen([of_subject[each.subject.id] for each in answering], timeout_s=CASE_TIMEOUT_S)
    told = {each.subject.id: found for each, found in zip(answering, heard, strict=True)}
    for instance in answering:
        if fault := instance.fault():
            failures.append((instance, failed(instance, "died", fault)))
            del told[instance.subject.id]
    return told, failures


def _wait_until_ready(
    instances: Sequence[Instance], site: Site, checks: Mapping[str, Check]
) -> tuple[list[Instance], list[tuple[Instance, ServerFailure]]]:
    """The servers that answer, and why the others do not.

    One that answers wrongly and goes on to is up: its differences are all told, not only those of `GET /`.
    """
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    answering: list[Instance] = []
    failures: list[tuple[Instance, ServerFailure]] = []
    waiting = [(instance, Listening()) for instance in instances]
    while waiting:
        in_time = time.monotonic() < deadline_s
        still = []
        heard = site.ready([checks[each.subject.id] for each, _ in waiting], READY_STEP_S)
        now_s = time.monotonic()
        for (instance, listening), last in zip(waiting, heard, strict=True):
            listening.hear(last, now_s)
            if last.outcome == "right" or listening.is_settled(now_s):
                answering.append(instance)
            elif fault := instance.fault():
                why = f"the server ended before it was ready; last: {listening.reason}\n{fault}"
                failures.append((instance, failed(instance, "start", why)))
            elif in_time:
                still.append((instance, listening))
            else:
                why = f"the server was not ready within {READY_TIMEOUT_S:g} s; last: {listening.reason}"
                failures.append((instance, failed(instance, "start", why)))
        waiting = still
    return answering, failures


def _check(
    instance: Instance,
    scopes: Mapping[str, Scope],
    asks: Mapping[str, tuple[Request, ...]],
    *,
    only_asks: bool = False,
) -> Check:
    subject, variant = instance.subject, instance.subject.variant
    return Check(
        instance.host,
        instance.port,
        variant.interface,
        variant.supports,
        instance.workers,
        Scope() if only_asks else scopes.get(subject.id),
        subject.application.routes,
        asks.get(subject.id, ()),
    )


def failed(instance: Instance, code: str, text: str) -> ServerFailure:
    """A failure with the server's last lines below it.

    Where the database that its application needs has ended, that is the failure, whatever came of it.
    """
    if fault := instance.database_fault():
        return ServerFailure("database", fault)
    text = "\n".join((text, *(f"the database said: {each}" for each in instance.complaints())))
    tail = instance.log_tail()
    return ServerFailure(code, f"{text}\nlast lines of {instance.log.name}:\n{tail}" if tail else text)


TARGET = "/interface"
NOT_AS_ASKED = "not-as-asked"
"""The code of a server that runs on something else than its variant asks for."""
ASK_TIMEOUT_S = 10.0
MOST_KEYS = 300
"""Far over what any server hands over."""


@dataclass(frozen=True, slots=True)
class Handed:
    """What one server hands the application.

    Attributes:
        keys: key of the environ or scope → its `type` and, where it may be made public, its `value`; None
            where it could not be learnt, and `reason` says why.
        process: what the application saw of the process that called it; None where it does not tell.
    """

    subject: str
    interface: Interface
    keys: Mapping[str, Mapping[str, Any]] | None
    reason: str = ""
    process: Within | None = None


@dataclass(frozen=True, slots=True)
class Within:
    """What an application sees of the process that calls it.

    Attributes:
        loop: class of the event loop that was running when it was called, such as `uvloop.Loop`; empty where
            it was called by none of asyncio's kind.
        libraries: of those that run loops, parse HTTP or speak WebSocket, the ones that are loaded.
        scheme: `http`, or `https` over TLS.
    """

    loop: str
    libraries: tuple[str, ...]
    scheme: str


def ask_interfaces(instances: Sequence[Instance], site: Site) -> Iterator[Handed]:
    """Asks each server once; twins are left out, since they are what their originals are.

    So are null responders, behind which there is no application, and applications that cannot tell.
    """
    subjects = [(instance, instance.subject) for instance in instances]
    asked = [
        instance
        for instance, subject in subjects
        if not (subject.again or subject.responder or subject.application.unanswered({TARGET}))
    ]
    addresses = [(instance.host, instance.port) for instance in asked]
    for instance, fetched in zip(asked, site.fetch(addresses, TARGET, timeout_s=ASK_TIMEOUT_S), strict=True):
        interface = instance.subject.variant.interface
        told, reason = _read(fetched)
        if told is None:
            yield Handed(instance.subject.id, interface, None, reason)
            continue
        yield Handed(
            instance.subject.id, interface, public(interface, told.keys), process=_within(interface, told)
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one running server.

    Attributes:
        handed: None of a server that nobody asks, such as a twin.
        wrong: how it runs on something else than its variant asks for; empty where nothing contradicts it.
    """

    instance: Instance
    handed: Handed | None
    observed: ObservedMeta
    wrong: str


def look(instances: Sequence[Instance], site: Site) -> list[Seen]:
    """What servers hand over and what they run with, without null responders."""
    handed = {each.subject: each for each in ask_interfaces(instances, site)}
    seen = []
    for instance in instances:
        subject, variant = instance.subject, instance.subject.variant
        if subject.responder:
            continue
        told = handed.get(subject.id)
        found = observed(told.process if told is not None else None, instance.composition())
        wrong = not_as_asked(variant.expects, found)
        place = f"{subject.server.folder / SERVER_FILE}: variants.{variant.name}.expects: "
        seen.append(Seen(instance, told, found, place + wrong if wrong else ""))
    return seen


def _within(interface: Interface, told: _Told) -> Within | None:
    """What the application said of its process; None for one that says nothing, or in another form."""
    scheme = told.keys.get("scheme" if interface == "asgi" else "wsgi.url_scheme", {}).get("value")
    match told.process:
        case {"loop": str() | None as loop, "libraries": [*libraries]}:
            return Within(loop or "", tuple(map(str, libraries)), str(scheme or ""))
    return None


def observed(within: Within | None, seen: Composition) -> ObservedMeta:
    """What a server runs with, as its application says and as the kernel shows its processes."""
    told: dict[str, Any] = {}
    if within is not None:
        told = {
            "loop": loop_of(within.loop),
            "loop_class": within.loop,
            "libraries": within.libraries,
            "tls": within.scheme in {"https", "wss"} if within.scheme else None,
        }
    return ObservedMeta(processes=seen.processes, threads=seen.threads, mapped=seen.mapped, **told)


def not_as_asked(expects: Expects, found: ObservedMeta) -> str:
    """How a server runs on something else than its variant asks for; empty where nothing contradicts it.

    Of an application that does not tell which loop calls it, the kernel shows at least what is not loaded.
    """
    wrong = []
    unloaded = found.mapped is not None and expects.loop in {*SHARED_OBJECTS} - {*found.mapped}
    if expects.loop and found.loop not in {"", expects.loop}:
        wrong.append(f'loop = "{expects.loop}", and it runs on {found.loop} ({found.loop_class})')
    elif unloaded and not found.loop:
        wrong.append(f'loop = "{expects.loop}", and none of its processes has loaded {expects.loop}')
    asked = {"http": (expects.http, found.http), "websocket": (expects.websocket, found.websocket)}
    for key, (wanted, loaded) in asked.items():
        if wanted and loaded != NOT_OBSERVED and wanted not in loaded.split(" and "):
            wrong.append(f'{key} = "{wanted}", and it has loaded {"no library" if loaded == OWN else loaded}')
    return "; ".join(wrong)


def public(interface: Interface, keys: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The keys without what is private to the machine, since results are given to others.

    Some servers hand over the whole environment of their process, or paths and the host's name. Of what no
    specification knows, and of the request's own headers, only the type stays, and the value of a flag.
    """
    host = _first_label(socket.gethostname())
    kept: dict[str, dict[str, Any]] = {}
    for key, told in keys.items():
        known = need(interface, key) not in {"own", "header"} and _first_label(told["value"]) != host
        kept[key] = {"type": told["type"]}
        if known or told["type"] == "bool":
            kept[key]["value"] = told["value"]
    return kept


def _first_label(name: object) -> str:
    return str(name).partition(".")[0].lower()


@dataclass(frozen=True, slots=True)
class _Told:
    """An answer: the keys, and what the application said of its process, in whatever form."""

    keys: Mapping[str, Mapping[str, Any]]
    process: object


def _read(fetched: Fetched) -> tuple[_Told | None, str]:
    """What was answered, or None and why it cannot be used."""
    if fetched.error or fetched.status != 200:
        return None, fetched.error or f"{TARGET} was answered with {fetched.status}"
    try:
        document = json.loads(fetched.body)
        keys = document["keys"]
        read = {str(key): {"type": str(told["type"]), "value": told["value"]} for key, told in keys.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return None, f"{TARGET} was answered in another form ({error!r})"
    if len(read) > MOST_KEYS:
        return None, f"{TARGET} reported {len(read):,} keys"
    return _Told(read, document.get("process")), ""
