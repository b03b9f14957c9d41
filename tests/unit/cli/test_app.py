"""The command where nothing of a run is started: verification on any machine, and what it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.lab import OWN_FOLDERS, gatebench


def test_on_a_single_core_servers_can_be_verified_all_the_same(tmp_path: Path) -> None:
    cores = {min(os.sched_getaffinity(0))}
    ended = gatebench(tmp_path, "verify", *OWN_FOLDERS[:2], "--servers", "honest", cores=cores)
    assert ended.status == 0, ended.said


def test_verify_fails_where_a_server_that_was_named_cannot_be_had(tmp_path: Path) -> None:
    folder = tmp_path / "servers" / "needy"
    folder.mkdir(parents=True)
    (folder / "requirements.txt").write_text("# nothing\n")
    (folder / "server.toml").write_text(
        'homepage = "https://example.org/"\n[remedies]\nno-such-command = "apt-get install such"\n'
        '[variants.default]\ninterface = "wsgi"\nsupports = ["close"]\nneeds = ["no-such-command"]\n'
        'command = ["never-started", "{app}", "{host}:{port}"]\n'
    )
    servers = ("--servers-dir", str(tmp_path / "servers"), "--servers", "needy honest")
    ended = gatebench(tmp_path, "verify", *OWN_FOLDERS[:2], *servers)
    assert ended.status == 1
    assert "apt-get install such" in " ".join(ended.said.split())


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["run", "--serves", "honest"]])
def test_help_and_a_mistyped_option_wait_for_no_import_that_only_commands_need(arguments: list[str]) -> None:
    heavy = (
        "docker",
        "gevent",
        "jinja2",
        "locust",
        "matplotlib",
        "numpy",
        "pandas",
        "psutil",
        "pyarrow",
        "scipy",
    )
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['gatebench', *{arguments!r}]\n"
        "try: runpy.run_module('gatebench', run_name='__main__')\n"
        f"finally: print('imported:', *sorted({{*{heavy!r}}} & {{*sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == (0 if "--help" in arguments else 2), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1] == "imported:"


def test_a_run_of_processes_waits_for_no_import_that_only_its_report_needs() -> None:
    heavy = {"pandas", "scipy", "matplotlib", "docker", "locust"}
    code = f"import gatebench.cli.run, sys; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
