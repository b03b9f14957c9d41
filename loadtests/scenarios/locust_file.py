"""Loads a Locust file that somebody brought, and refuses one that a comparison cannot use."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import locust
from locust import FastHttpUser, HttpUser, User
from locust.event import Events
from locust.util.load_locustfile import load_locustfile


class ScenarioError(RuntimeError):
    """A Locust file cannot be used; the text says which, why, and what to do next."""


def load_users(file: Path) -> tuple[list[type[User]], Events]:
    """The user classes of a Locust file, and the events that it listens to.

    Each call runs the file anew, with events of its own: what a file registers with `locust.events` hears of
    one scenario only.

    Raises:
        ScenarioError: it is missing, does not run, or holds what cannot run under the lab's plan.
    """
    if not file.is_file():
        raise ScenarioError(f"{file}: there is no such file; put the Locust file there")
    with _own_events() as events, _own_modules(file):
        try:
            classes, shapes = load_locustfile(str(file.resolve()))
        except (Exception, SystemExit) as error:  # somebody's file may raise anything
            raise ScenarioError(
                f"{_place(file, error)}: {type(error).__name__}: {error}; the file must load on its own: "
                f"try `locust -f {file} --list`"
            ) from error
    problems = [
        *([] if classes else ["it defines no user class; derive one from locust.FastHttpUser"]),
        *(
            ["it defines a LoadTestShape, but the lab's plan says how many users run; remove it"]
            * bool(shapes)
        ),
        *(problem for name, each in classes.items() for problem in _problems(name, each)),
    ]
    if problems:
        raise ScenarioError("\n".join(f"{file}: {problem}" for problem in problems))
    return list(classes.values()), events


def _problems(name: str, user_class: type[User]) -> Iterator[str]:
    if not issubclass(user_class, FastHttpUser | HttpUser):
        yield f"{name} is neither a FastHttpUser nor an HttpUser; derive it from one, or make it abstract"
    if not user_class.tasks:
        yield f"{name} has no task; mark at least one method with @task"


@contextlib.contextmanager
def _own_events() -> Iterator[Events]:
    shared, locust.events = locust.events, Events()  # type: ignore[no-untyped-call] # Locust's
    try:
        yield locust.events
    finally:
        locust.events = shared


@contextlib.contextmanager
def _own_modules(file: Path) -> Iterator[None]:
    """Forgets what the file imported from beside it: another workload's may have the same name."""
    path, known = list(sys.path), set(sys.modules)
    folder = file.resolve().parent
    try:
        yield
    finally:
        sys.path[:] = path  # Locust's loader leaves the working directory in it, once more each time
        for name in set(sys.modules) - known:
            origin = getattr(sys.modules[name], "__file__", None)
            if origin is not None and folder in Path(origin).parents:
                del sys.modules[name]


def _place(file: Path, error: BaseException) -> str:
    """The file, with the line that the error came from where it is known."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == file.resolve()
    ]
    return f"{file}:{lines[-1]}" if lines else str(file)
