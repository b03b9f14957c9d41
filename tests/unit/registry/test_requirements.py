"""A server's and an application's requirements become one file, in which the server's versions rule."""

from __future__ import annotations

from pathlib import Path

from gatebench.registry.requirements import joined
from gatebench.registry.servers import parse_application, parse_server
from tests.support.folders import SERVER, write_server

ONE = "--hash=sha256:" + "1" * 64
TWO = "--hash=sha256:" + "2" * 64


def lines(tmp_path: Path, server: str, application: str) -> list[str]:
    """What follows the server's own lines."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "wsgi.py").touch()
    (folder / "requirements.txt").write_text(application)
    parsed = parse_server(write_server(tmp_path, SERVER, server))
    text = joined(parsed, parse_application(folder, tmp_path), "/srv/apps/mine")
    assert text.startswith(server)
    return text.removeprefix(server).splitlines()[1:]


def test_what_the_server_does_not_pin_is_added_as_it_stands(tmp_path: Path) -> None:
    assert lines(tmp_path, f"demo==1.0 {ONE}\n", f"flask==3.1 {TWO}\nloose>=2\n") == [
        f"flask==3.1 {TWO}",
        "loose>=2",
    ]


def test_what_both_pin_alike_is_there_once(tmp_path: Path) -> None:
    assert lines(tmp_path, f"Typing_Extensions==4.1 {ONE}\n", f"typing-extensions==4.1 {ONE}\n") == []


def test_where_they_differ_the_servers_version_rules_with_its_hash(tmp_path: Path) -> None:
    server, application = f"anyio==4.1 ; python_version < '3.12' {ONE}\n", f"anyio==4.2 {TWO}\n"
    assert lines(tmp_path, server, application) == [f"anyio==4.1 {ONE}"]


def test_extras_that_the_application_asks_for_are_kept_with_the_servers_version(tmp_path: Path) -> None:
    assert lines(tmp_path, f"demo==1.0 {ONE}\n", f"demo[more]==1.0 {ONE}\n") == [f"demo[more]==1.0 {ONE}"]


def test_versions_that_the_server_pins_by_markers_keep_their_places(tmp_path: Path) -> None:
    server = f"c==5 ; python_version < '3.12' {ONE}\nc==6 ; python_version >= '3.12' {TWO}\n"
    assert lines(tmp_path, server, f"c==6 ; sys_platform == 'linux' {TWO}\n") == [
        f"c==5 ; (python_version < '3.12') and (sys_platform == 'linux') {ONE}",
        f"c==6 ; (python_version >= '3.12') and (sys_platform == 'linux') {TWO}",
    ]


def test_a_linked_folder_is_looked_for_where_the_application_is_installed(tmp_path: Path) -> None:
    assert lines(tmp_path, f"demo==1.0 {ONE}\n", "-e .\n-e ./lib[x]\n") == [
        "-e /srv/apps/mine",
        "-e /srv/apps/mine/lib[x]",
    ]
