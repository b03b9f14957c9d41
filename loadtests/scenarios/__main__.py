"""Prints the options that Locust files define, as JSON: `python -m loadtests.scenarios FILE…`."""

from __future__ import annotations

# Locust patches the standard library for gevent; that has to happen before anything else is imported.
import locust  # noqa: F401 # isort: skip

import json
import sys
from pathlib import Path

from loadtests.scenarios.reading import ScenarioError, load_users, own_options


def main() -> None:
    """Answers with `options` (file → names) or `error`."""
    try:
        found = {file: sorted(own_options(load_users(Path(file))[1])) for file in sys.argv[1:]}
    except ScenarioError as error:
        print(json.dumps({"error": str(error)}))
    else:
        print(json.dumps({"options": found}))


if __name__ == "__main__":
    main()
