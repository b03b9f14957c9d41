"""What the process runner decides from data: arguments, ports, a server's folders."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from gatebench.machine.kernel import LOWEST, ephemeral_start, fresh_port, is_free
from gatebench.runners.process.environments import Environment
from gatebench.runners.process.runner import unreadable
from gatebench.words.commands import fill, fill_table
from gatebench.words.model import Application, Server, Subject, Variant
from gatebench.words.paths import HOST


def test_placeholders_are_filled_wherever_they_stand_in_an_argument() -> None:
    command = ["serve", "--bind={host}:{port}", "{app}", "{other}"]
    values = {"host": "127.0.0.1", "port": "8000", "app": "apps.plain.wsgi:app"}
    assert fill(command, values) == ("serve", "--bind=127.0.0.1:8000", "apps.plain.wsgi:app", "{other}")


def test_placeholders_in_a_file_are_filled_among_its_own_braces() -> None:
    files = {"demo.conf": "events { listen {host}:{port}; }"}
    values = {"host": "127.0.0.1", "port": "8000"}
    assert fill_table(files, values) == {"demo.conf": "events { listen 127.0.0.1:8000; }"}


def test_a_fresh_port_is_free_never_given_twice_and_no_ephemeral_one() -> None:
    taken: set[int] = set()
    ports = [fresh_port(HOST, taken) for _ in range(50)]
    assert len(set(ports)) == 50
    assert taken == set(ports)
    assert all(LOWEST <= port < max(LOWEST + 1000, ephemeral_start()) for port in ports)


def test_a_port_on_which_somebody_listens_is_not_free() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        assert not is_free(HOST, port)
    assert is_free(HOST, port)


def apache(folder: Path, *, drops_root: bool = True) -> tuple[Subject, Environment]:
    """A subject whose application, and an environment whose Python, lie in folders below `folder`."""
    application = Application("plain", folder / "apps", folder, "apps.wsgi:app", None)
    variant = Variant("default", "wsgi", ("x",), False, "", frozenset({"close"}), "TERM", ())
    server = Server("apache", folder, "", (variant,), folder / "r.txt", True, drops_root=drops_root)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    return Subject(server, variant, application), Environment(folder / "bin", {})


@pytest.fixture
def open_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As root, with a folder that others may enter at first; the test closes it."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith("pytest-") or folder == tmp_path:
            folder.chmod(0o755)
    return tmp_path


def test_a_server_that_gives_up_root_needs_folders_that_others_may_enter(open_python: Path) -> None:
    subject, environment = apache(open_python / "closed")
    assert str(open_python / "closed") not in unreadable(subject, environment)
    (open_python / "closed").chmod(0o700)
    text = unreadable(subject, environment)
    assert str(open_python / "closed") in text
    assert "make clean && make bench PYTHON=" in text


def test_a_server_that_keeps_its_user_may_lie_anywhere(open_python: Path) -> None:
    subject, environment = apache(open_python / "closed", drops_root=False)
    (open_python / "closed").chmod(0o700)
    assert unreadable(subject, environment) == ""


def test_an_ordinary_user_is_nobody_else(open_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, environment = apache(open_python / "closed")
    (open_python / "closed").chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert unreadable(subject, environment) == ""
