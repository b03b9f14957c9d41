"""Reads a user's Locust file: its classes, its own options, and whether it can run under the lab's plan."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import locust
from locust import FastHttpUser, HttpUser, User
from locust.argument_parser import LocustArgumentParser, default_args_dict, get_parser
from locust.env import Environment
from locust.event import Events
from locust.util.load_locustfile import load_locustfile

NOWHERE = "http://127.0.0.1:9"
"""The host of a file that is only read: the port of `discard`, at which nothing answers."""


TAGS = frozenset({"tags", "exclude_tags"})
"""Locust's options that choose tasks by their tags; the values are told apart by spaces or commas."""


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


_YES = {"1", "true", "yes", "on"}
_NO = {"0", "false", "no", "off"}


def parsed_options(
    file: Path, events: Events, given: Mapping[str, str], *, host: str, users: int
) -> argparse.Namespace:
    """`environment.parsed_options` as `locust -f FILE` would have it, with these values of the file's own.

    Args:
        file: the Locust file, for what a person is told.
        events: those that the file has registered with; `init_command_line_parser` adds its options.
        given: name (`page`, or as on the command line) → value.
        host: as the lab has chosen it.
        users: how many, likewise.

    Raises:
        ScenarioError: the file has no such option, or the value is none for it.
    """
    parser = _parser(events)
    own = _own(parser)
    problems, arguments = [], []
    for name, value in given.items():
        action = own.get(name.lstrip("-").replace("-", "_"))
        if action is None:
            problems.append(_unknown(name, sorted(own)))
        elif action.dest in TAGS:
            arguments += [action.option_strings[0], *value.replace(",", " ").split()]
        elif action.nargs != 0:
            arguments.append(f"{action.option_strings[0]}={value}")
        elif value.lower() in _YES:
            arguments.append(action.option_strings[0])
        elif value.lower() not in _NO:
            problems.append(f'--locust-option {name}: "{value}" is neither true nor false')
    if problems:
        raise ScenarioError("\n".join(f"{file}: {problem}" for problem in problems))
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options: argparse.Namespace = parser.parse_args(["--host", host, "-u", str(users), *arguments])
    except SystemExit as error:
        words = (said.getvalue().strip().splitlines() or ["its options cannot be read"])[-1]
        raise ScenarioError(f"{file}: {words}; set its options with --locust-option NAME=VALUE") from error
    options.locustfile, options.headless = str(file), True
    return options


def check(file: Path, given: Mapping[str, str], users: Iterable[int]) -> tuple[str, ...]:
    """Reads a Locust file as a scenario would, and starts nothing.

    Args:
        file: the Locust file.
        given: the values of its options; those that it does not have are somebody else's.
        users: how many the levels ask for.

    Returns:
        The names of its own options.

    Raises:
        ScenarioError: a scenario of it could not be made.
    """
    classes, events = load_users(file)
    names = own_options(events)
    own = {name: value for name, value in given.items() if name in names}
    for count in users:
        parsed = parsed_options(file, events, own, host=NOWHERE, users=count)
        environment = make_environment(file, classes, events, parsed)
        refuse_idle_users(file, environment.user_classes, count)
        _refuse_without_task(file, environment)
    return names


def make_environment(
    file: Path, classes: Sequence[type[User]], events: Events, options: argparse.Namespace
) -> Environment:
    """Locust's environment of a Locust file.

    Raises:
        ScenarioError: Locust refuses its user classes.
    """
    try:
        return Environment(
            user_classes=[*classes],
            events=events,
            host=options.host,
            parsed_options=options,
            reset_stats=False,
        )
    except ValueError as error:
        raise ScenarioError(f"{file}: {error}; correct its user classes") from error


def refuse_idle_users(file: Path, classes: Sequence[type[User]], users: int) -> None:
    """Users whom Locust would not start, since every class has a number of its own.

    Raises:
        ScenarioError: there are such users.
    """
    fixed = {each.__name__: each.fixed_count for each in classes if each.fixed_count}
    allowed = sum(fixed.values())
    if len(fixed) == len(classes) and allowed < users:
        counts = ", ".join(f"{name} {count}" for name, count in fixed.items())
        raise ScenarioError(
            f"{file}: {users} users are asked for, but fixed_count allows {allowed} ({counts}), so "
            f"{users - allowed} would never begin; set users = [{allowed}] in workload.toml, or give a class "
            "a weight instead"
        )


def _refuse_without_task(file: Path, environment: Environment) -> None:
    """Users of whose tasks the tags leave none.

    Raises:
        ScenarioError: there are such users.
    """
    tags = _tags([task for each in environment.user_classes for task in each.tasks])
    environment._filter_tasks_by_tags()  # noqa: SLF001 - as the runner does when it starts
    empty = [each.__name__ for each in environment.user_classes if not each.tasks]
    if empty:
        known = f"the file's tags are {', '.join(sorted(tags))}" if tags else "no task of the file has a tag"
        raise ScenarioError(
            f"{file}: the tags leave no task of {' and '.join(empty)}; {known} (--locust-option tags=…)"
        )


def _tags(tasks: Iterable[Any]) -> set[str]:
    """The tags of tasks, and of those in task sets."""
    found: set[str] = set()
    for task in tasks:
        found |= getattr(task, "locust_tag_set", set()) | _tags(getattr(task, "tasks", ()))
    return found


def own_options(events: Events) -> tuple[str, ...]:
    """The names of the options that a file has added to Locust's, as Python names them: `page_size`.

    Locust's own choice of tasks by their tags is among them: it is the file that has the tags.
    """
    return tuple(_own(_parser(events)))


def _parser(events: Events) -> LocustArgumentParser:
    shared, locust.events = locust.events, events
    try:
        return get_parser(default_config_files=[])
    finally:
        locust.events = shared


def _own(parser: LocustArgumentParser) -> dict[str, argparse.Action]:
    plain = default_args_dict().keys() - TAGS
    return {
        action.dest: action
        for action in parser._actions  # noqa: SLF001 - argparse tells of its options nowhere else
        if action.option_strings and action.dest not in {*plain, "help", "version"}
    }


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    nearest = f' (did you mean "{close[0]}"?)' if close else ""
    listed = f"its own options are {', '.join(known)}" if known else "it has no option of its own"
    return f"--locust-option: there is no option {name!r}{nearest}; {listed}"
