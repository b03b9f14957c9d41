"""Writes a variant's files into the working directory, then becomes the server: `launch.py COMMAND ...`.

The files come in the variable GATEBENCH_FILES, as JSON: name to text, every placeholder filled in. The server
takes over this process, so that it gets the signals that are meant for it.
"""

import json
import os
import sys
from pathlib import Path

VARIABLE = "GATEBENCH_FILES"
NOT_RUNNABLE = 127  # as a shell has it


def main() -> None:
    """Writes the files and runs the command in this process's place."""
    command = sys.argv[1:]
    if not command:
        sys.exit(f"usage: {sys.argv[0]} COMMAND [ARGUMENT ...]")
    try:
        files = json.loads(os.environ.pop(VARIABLE, "{}"))
        for name, text in files.items():
            if Path(name).name != name:
                sys.exit(f"{VARIABLE}: {name!r} is no file of the working directory")
            Path(name).write_text(text, encoding="utf-8")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        sys.exit(f"{VARIABLE}: {error}")
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(NOT_RUNNABLE)


if __name__ == "__main__":
    main()
