"""The options of Locust's command line as a Locust file sees them: defaults, and the file's own as given."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
from collections.abc import Mapping
from pathlib import Path

import locust
from locust.argument_parser import LocustArgumentParser, default_args_dict, get_parser
from locust.event import Events

from loadtests.scenarios.locust_file import ScenarioError

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


def own_options(events: Events) -> tuple[str, ...]:
    """The names of the options that a file has added to Locust's, as Python names them: `page_size`."""
    return tuple(_own(_parser(events)))


def _parser(events: Events) -> LocustArgumentParser:
    shared, locust.events = locust.events, events
    try:
        return get_parser(default_config_files=[])
    finally:
        locust.events = shared


def _own(parser: LocustArgumentParser) -> dict[str, argparse.Action]:
    plain = set(default_args_dict())
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
