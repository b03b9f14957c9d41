"""The program of the database's container: makes a cluster, says that it is ready, and repeats its log."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from gatebench.machine.cores import available_cores
from gatebench.machine.processes import Owner
from gatebench.runners.process.postgres import Place, start_postgres
from gatebench.words.errors import ServerFailure

PASSWORD_VARIABLE = "GATEBENCH_PASSWORD"  # noqa: S105 - the name of a variable
READY = "the database is ready: PostgreSQL "
"""Printed, with the version after it, once the tables are filled."""
LOOK_S = 0.5


def main() -> None:
    """Runs it until it ends, or is told to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True, help="address to listen at")
    parser.add_argument("--port", type=int, required=True, help="port to listen at")
    parser.add_argument("--connections", type=int, required=True, help="how many it accepts")
    parser.add_argument("--folder", type=Path, required=True, help="where the cluster is made")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        database = start_postgres(
            arguments.folder,
            owner=Owner.this(),
            cores=available_cores(),
            connections=arguments.connections,
            report=print,
            taken=set(),
            place=Place(arguments.host, arguments.port, os.environ[PASSWORD_VARIABLE]),
        )
    except ServerFailure as failure:
        sys.exit(failure.text)
    print(f"{READY}{database.facts.version}", flush=True)
    try:
        while not database.fault():
            print(database.said(), end="", flush=True)
            time.sleep(LOOK_S)
        sys.exit(database.fault())
    finally:
        database.stop()


if __name__ == "__main__":
    main()
