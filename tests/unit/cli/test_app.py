"""The command where nothing of a run is started: verification on any machine, and what it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def test_a_command_waits_for_no_import_that_only_others_need() -> None:
    heavy = {"pandas", "scipy", "matplotlib", "docker", "locust"}
    code = f"import gatebench.cli.app, sys; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
