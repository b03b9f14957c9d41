"""`gatebench explain`: one live request, and every step of it between client, server and application."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from gatebench.contract.file import load_contract
from gatebench.contract.probe import WireError
from gatebench.contract.rules import Contract
from gatebench.contract.site import wait_until_accepting
from gatebench.explain import traced
from gatebench.explain.exchange import Question, converse
from gatebench.explain.explanation import Explanation, call_of, has_ended, lifespan_of
from gatebench.explain.render import show
from gatebench.explain.trace import TRACE_VARIABLE, read_trace
from gatebench.machine.cores import Cores
from gatebench.registry.registry import Registry, select
from gatebench.runners.process.instance import ProcessInstance
from gatebench.runners.process.runner import process_runner
from gatebench.runners.readiness import READY_TIMEOUT_S, failed
from gatebench.words.errors import ConfigurationError, GatebenchError, ServerFailure
from gatebench.words.model import INTERFACES, PLAIN_APPLICATION, Application, Interface, Subject
from gatebench.words.paths import ROOT
from gatebench.words.text import listed, near

DEFAULT_SUBJECTS: dict[Interface, str] = {"wsgi": "gunicorn-sync", "asgi": "uvicorn"}
"""Usual servers that are installed without a compiler."""
BODY = b"Hello, World!"
MESSAGE = "Hello, World!"
AFTERWARDS_S = 2.0
"""How long the application's call may go on after the answer, before the server is ended."""
POLL_S = 0.02

_TARGET = re.compile(r"/[!-~]*")


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be explained."""

    subject: Subject
    question: Question


def choose(registry: Registry, interface: str, subject: str | None, target: str) -> Choice:
    """What a person asked for.

    Args:
        registry: where subjects are looked up, with the plain application.
        interface: `wsgi` or `asgi`.
        subject: one of its subjects; None for a usual one.
        target: a path of the contract, with a query string or without.

    Raises:
        ConfigurationError: with all that is wrong.
    """
    problems: list[str] = []
    chosen = question = None
    try:
        (kind,) = (each for each in INTERFACES if each in select([interface], INTERFACES, "interface"))
        chosen = _subject(registry, kind, subject or DEFAULT_SUBJECTS[kind])
    except ConfigurationError as error:
        problems += error.problems
    try:
        question = _question(target, load_contract())
    except ConfigurationError as error:
        problems += error.problems
    if chosen is None or question is None:
        raise ConfigurationError(problems)
    return Choice(chosen, question)


def _subject(registry: Registry, interface: Interface, name: str) -> Subject:
    subjects = {subject.id: subject for subject in registry.subjects()}
    found = select([name], subjects, "server")
    own = [each for each in found if subjects[each].variant.interface == interface]
    others = [each for each in subjects if subjects[each].variant.interface == interface]
    if not own:
        other = subjects[found[0]].variant.interface
        raise ConfigurationError(
            f'"{name}" speaks {other.upper()}: gatebench explain {other} {found[0]}; '
            f"of {interface.upper()} there are {listed(others)}"
        )
    if len(own) > 1:
        raise ConfigurationError(f'"{name}" names {len(own)} subjects; name one of {listed(own)}')
    return subjects[own[0]]


def _question(target: str, contract: Contract) -> Question:
    path = target.partition("?")[0]
    if _TARGET.fullmatch(target):
        if path in (socket.path for socket in contract.websockets):
            return Question("GET", target, message=MESSAGE)
        for route in contract.routes:
            if route.argument_of(path) is not None:
                return Question(route.method, target, BODY if route.method == "POST" else b"")
    known = [
        *(route.prefix + (f"{{{route.argument}}}" if route.argument else "") for route in contract.routes),
        *(socket.path for socket in contract.websockets),
    ]
    raise ConfigurationError(f'--path: no route "{target}"{near(path, known)}; known: {listed(known)}')


def explain(choice: Choice, *, cores: Cores, cache: Path, console: Console, as_json: bool = False) -> None:
    """Starts the subject around a tracing application, asks it once, ends it, and prints what happened.

    Args:
        choice: what to start and what to ask.
        cores: where it runs.
        cache: folder of the servers' environments.
        console: gets the explanation; what goes on meanwhile goes to standard error.
        as_json: print the raw trace instead.

    Raises:
        GatebenchError: the subject is unavailable, did not get ready, or took no connection.
    """
    seen = look(choice, cores=cores, cache=cache, progress=Console(stderr=True))
    if as_json:
        console.out(json.dumps(seen.to_json(), indent=1), highlight=False)
    else:
        show(seen, console)


def look(choice: Choice, *, cores: Cores, cache: Path, progress: Console) -> Explanation:
    """As `explain`, without printing."""
    subject, question = choice.subject, choice.question
    path = question.target.partition("?")[0]
    with process_runner(cores=cores, cache=cache, console=progress) as (runner, scratch):
        trace = scratch / "trace.jsonl"
        trace.touch()
        if subject.server.drops_root:
            trace.chmod(0o666)  # started by root, it calls the application as another user
        prepared = traced_subject(subject, trace)
        if reason := runner.prepare([prepared])[subject.id].reason:
            raise GatebenchError(f"{subject.id} is unavailable: {reason}")
        instance = runner.launch(prepared, log=scratch / "server.log", hash_seed=0)
        try:
            _await_ready(instance)
            before = {step.call for step in read_trace(trace)}
            try:
                conversation = converse(instance.host, instance.port, question)
            except WireError as error:
                raise failed(instance, "died", str(error)) from error
            _await(lambda: has_ended(call_of(read_trace(trace), path, before)))
        finally:
            runner.stop([instance])
        steps = read_trace(trace)
        return Explanation(
            subject.id,
            subject.variant.interface,
            instance.argv,
            question.target,
            conversation,
            call_of(steps, path, before),
            lifespan_of(steps),
        )


def traced_subject(subject: Subject, trace: Path) -> Subject:
    """The subject with a trace around the plain application, under the same ID."""
    folder = Path(traced.__file__).parent
    application = Application(
        PLAIN_APPLICATION, folder, ROOT, f"{traced.__name__}.wsgi:app", f"{traced.__name__}.asgi:app"
    )
    environment = {**subject.variant.environment, TRACE_VARIABLE: str(trace)}
    return replace(
        subject, application=application, variant=replace(subject.variant, environment=environment)
    )


def _await_ready(instance: ProcessInstance) -> None:
    try:
        wait_until_accepting(
            instance.host, instance.port, deadline_s=READY_TIMEOUT_S, alive=lambda: not instance.fault()
        )
    except ServerFailure as failure:
        raise failed(instance, failure.code, failure.text) from failure


def _await(condition: Callable[[], bool]) -> None:
    """Waits for what may come just after the answer; where it does not, that is part of the explanation."""
    deadline = time.monotonic() + AFTERWARDS_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_S)
