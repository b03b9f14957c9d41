"""Reads Locust files as a run would, before anything is started.

On standard input: a list of objects of `file`, `options` (name → value) and `users` (a list of numbers), as
JSON. On standard output: `options` (file → the names of its own) and `problems`.
"""

from __future__ import annotations

# Locust patches the standard library for gevent; that has to happen before anything else is imported.
import locust  # noqa: F401 # isort: skip

import contextlib
import json
import sys
from pathlib import Path

from loadtests.scenarios.reading import ScenarioError, check


def main() -> None:
    """Answers the question on standard input."""
    options: dict[str, list[str]] = {}
    problems: list[str] = []
    with contextlib.redirect_stdout(sys.stderr):  # what a file prints is not the answer
        for each in json.load(sys.stdin):
            try:
                options[each["file"]] = sorted(check(Path(each["file"]), each["options"], each["users"]))
            except ScenarioError as error:
                problems += str(error).splitlines()
    print(json.dumps({"options": options, "problems": problems}))


if __name__ == "__main__":
    main()
