"""Learns what servers answer to requests of which nobody has said it, before anything is planned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import islice
from pathlib import Path

from gatebench.contract.own import DisagreementError, Heard, Told, agree
from gatebench.load.backend import Means
from gatebench.results.answers import Learned
from gatebench.runners.base import Instance, Launch
from gatebench.runners.readiness import listen_to
from gatebench.words.errors import GatebenchError, ServerFailure
from gatebench.words.model import Cell, Request, Subject, Workload
from loadtests.engine.masked import compiled


class UnlearnedError(GatebenchError):
    """There is no answer that servers could be held to; the text says why, and what they last wrote."""


def learn(
    workloads: Sequence[Workload],
    subjects: Sequence[Subject],
    means: Means,
    *,
    logs: Path,
    exclusive: bool,
    note: Callable[[str], None],
) -> tuple[Learned, ...]:
    """Asks every subject for every request whose answer is to be learned, and has them agree.

    Args:
        workloads: those of the run.
        subjects: those that can be started.
        means: what to start and ask them with.
        logs: folder for their output.
        exclusive: whether they are up one at a time.
        note: told of what a person should know.

    Raises:
        UnlearnedError: some request has no answer that can be expected; with the reasons of all of them.
    """
    asked = [(each, number, request) for each in workloads for number, request in _to_learn(each)]
    if not asked:
        return ()
    if not subjects:
        raise UnlearnedError("nothing was measured: no chosen server is available; the reasons are above")
    asks = {
        subject.id: tuple(dict.fromkeys(request for each, _, request in asked if _takes(subject, each)))
        for subject in subjects
    }
    able = [subject for subject in subjects if asks[subject.id]]
    answered = _Answered()
    for group in [[each] for each in able] if exclusive else [able]:
        _ask(group, asks, means, logs, answered)
    learned: list[Learned] = []
    problems: list[str] = []
    for workload, number, request in asked:
        heard = [Heard(name, told[request]) for name, told in answered.told.items() if request in told]
        try:
            answer, wrong = agree(request, heard)
        except DisagreementError as error:
            if heard:
                problems.append(f"{request.name}: {_indented(str(error))}")
            continue
        right = tuple(each.subject for each in heard if each.subject not in wrong)
        learned.append(
            Learned(workload.name, number, request.name, answer, right, {**wrong, **answered.lost})
        )
    if len(learned) < len(asked):
        raise UnlearnedError(_nothing_to_expect(dict.fromkeys(problems), answered))
    for text in dict.fromkeys(_unused(learned)):
        note(text)
    return tuple(learned)


def with_answers(workloads: Sequence[Workload], learned: Iterable[Learned]) -> tuple[Workload, ...]:
    """The workloads with what was learned as what they say of their answers."""
    answers = {(each.workload, each.number): each.answer for each in learned}

    def answered(workload: Workload) -> Workload:
        first, *others = (
            replace(request, answer=answers.get((workload.name, number), request.answer))
            for number, request in enumerate(workload.requests)
        )
        return replace(workload, request=first, others=tuple(others))

    return tuple(map(answered, workloads))


def _to_learn(workload: Workload) -> list[tuple[int, Request]]:
    return [(number, each) for number, each in enumerate(workload.requests) if each.is_learned]


def _takes(subject: Subject, workload: Workload) -> bool:
    return not Cell(subject, workload, workload.levels[0]).unsupported()


@dataclass(slots=True)
class _Answered:
    """What came of asking.

    Attributes:
        told: ID of a subject → the different answers to each request.
        lost: ID of a subject → why it did not get ready.
        wrote: ID of a subject → the last lines that it wrote.
    """

    told: dict[str, dict[Request, tuple[Told, ...]]] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    wrote: dict[str, str] = field(default_factory=dict)


def _ask(
    group: Sequence[Subject],
    asks: Mapping[str, tuple[Request, ...]],
    means: Means,
    logs: Path,
    answered: _Answered,
) -> None:
    """Starts servers side by side, asks each, and ends them.

    Each has another hash seed, as in a run: an answer that depends on the order of a set is seen to vary.
    """
    launches = [
        Launch(each, logs / f"{each.id}-learned.log", seed) for seed, each in enumerate(group, start=1)
    ]
    instances: list[Instance] = []
    try:
        for subject, started in zip(group, means.runner.start(launches), strict=True):
            if isinstance(started, ServerFailure):
                answered.lost[subject.id] = str(started)
            else:
                instances.append(started)
        heard, failures = listen_to(instances, means.site, asks)
        for name, several in heard.items():
            answered.told[name] = dict(zip(asks[name], several, strict=True))
        answered.lost.update({each.subject.id: str(failure) for each, failure in failures})
        answered.wrote.update({each.subject.id: each.log_tail() for each in instances})
    finally:
        means.runner.stop(instances)


def _nothing_to_expect(problems: Iterable[str], answered: _Answered) -> str:
    """Why the run cannot go on: what was answered, who did not answer, and what one of these last wrote."""
    lines = ["nothing was measured, because there is no answer that servers could be held to:", *problems]
    lines += [f"{name} did not get ready: {why}" for name, why in answered.lost.items()]
    failed = (name for name, told in answered.told.items() if any(map(_is_a_failure, told.values())))
    wrote = ((name, answered.wrote[name]) for name in failed if answered.wrote[name])
    for name, tail in islice(wrote, 1):  # the application is the same behind all of them
        lines.append(f"last lines of {name}:\n{tail}")
    return "\n".join(lines)


def _is_a_failure(told: tuple[Told, ...]) -> bool:
    """Whether the server may have written why it answered so."""
    return any(each.error or each.status >= HTTPStatus.INTERNAL_SERVER_ERROR for each in told)


def _unused(learned: Iterable[Learned]) -> Iterable[str]:
    """A sentence on each pattern that no answer has: it is misspelt, or not needed."""
    bodies: dict[str, list[bytes]] = {}
    for each in learned:
        for pattern in each.answer.varies:
            bodies.setdefault(pattern, []).append(each.answer.body or b"")
    for pattern, found in bodies.items():
        if not any(compiled(pattern).search(body) for body in found):
            yield f"varies: '{pattern}' is in none of the answers; every byte of them is held to"


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")
