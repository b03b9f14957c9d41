"""How a database's programs are found, how many connections it gets, and what is told of its complaints."""

from __future__ import annotations

from pathlib import Path

from apps.plain import stored
from gatebench.runners.database import LEAST_CONNECTIONS, POOL, complaints_in, explain, max_connections
from gatebench.runners.process.postgres import PROGRAMS, find_programs

LOG = """\
LOG:  database system is ready to accept connections
FATAL:  sorry, too many clients already
FATAL:  sorry, too many clients already
FATAL:  terminating connection due to administrator command
PANIC:  could not write to file "pg_wal/xlogtemp.1": No space left on device
"""


def add_version(folder: Path, version: str, programs: tuple[str, ...] = PROGRAMS) -> None:
    (folder / version / "bin").mkdir(parents=True)
    for name in programs:
        file = folder / version / "bin" / name
        file.touch(mode=0o755)


def test_the_newest_version_that_has_every_program_is_taken_where_none_is_on_the_path(tmp_path: Path) -> None:
    for version in ("9.6", "15", "16"):
        add_version(tmp_path, version)
    add_version(tmp_path, "17", ("psql",))
    found = find_programs(path="/nowhere", debian=tmp_path)
    assert found is not None
    assert found["initdb"] == str(tmp_path / "16" / "bin" / "initdb")
    assert {*found} == {*PROGRAMS}


def test_without_programs_nothing_is_found(tmp_path: Path) -> None:
    assert find_programs(path="/nowhere", debian=tmp_path) is None


def test_every_pool_of_the_servers_that_are_up_fits_into_the_connections() -> None:
    assert max_connections(1, 1) == LEAST_CONNECTIONS
    assert max_connections(40, 2) >= 40 * 2 * POOL
    assert stored.POOL == POOL


def test_each_complaint_of_a_log_is_told_once_with_what_helps() -> None:
    few, full = complaints_in(LOG)
    assert few.startswith("sorry, too many clients already: ")
    assert "max_connections" in few
    assert full.startswith("could not write to file")
    assert "TMPDIR" in full


def test_a_full_disk_is_named_before_the_last_lines_of_what_was_printed() -> None:
    said = explain("one\n\ninitdb: error: could not write: No space left on device\n")
    assert said.splitlines()[0].startswith("the disk of the folder for temporary files is full")
    assert said.splitlines()[-1] == "initdb: error: could not write: No space left on device"
    assert explain("something else") == "something else"
