"""`new-server` makes a folder that a run takes as it is, or says all that is wrong and makes nothing."""

from __future__ import annotations

import os
import re
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatebench.cli.new_server import NewServer, create, next_steps, server_toml
from gatebench.registry.registry import load_registry
from gatebench.runners.process.environments import PIN
from gatebench.words.errors import ConfigurationError
from gatebench.words.paths import HOST, ROOT
from tests.support.shelf import Shelf

HOMEPAGE = "https://example.org/"
SERVE = ("demo", "--host={host}", "--port={port}", "{app}")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """A folder of wheels, with the package `demo`, in place of the package index."""
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    shelf = Shelf(tmp_path)
    shelf.add_wheel()
    monkeypatch.setenv("UV_FIND_LINKS", str(shelf.wheels))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return shelf


@pytest.fixture
def wanted(tmp_path: Path) -> NewServer:
    """A server that can be made: its folder is to lie in one that is not there yet."""
    return NewServer("demo", "wsgi", SERVE, HOMEPAGE, tmp_path / "my" / "servers")


def refused(wanted: NewServer, root: Path = ROOT) -> tuple[str, ...]:
    """The problems of what cannot be made, which has to leave no trace."""
    before = sorted(wanted.directory.parent.rglob("*"))
    with pytest.raises(ConfigurationError) as caught:
        create(wanted, root)
    assert sorted(wanted.directory.parent.rglob("*")) == before
    return caught.value.problems


def declared(text: str) -> dict[str, object]:
    """The only variant of a `server.toml`."""
    variants = tomllib.loads(text)["variants"]
    assert list(variants) == ["default"]
    return dict(variants["default"])


# server.toml ------------------------------------------------------------------------------------------------


def test_the_file_is_laid_out_like_those_of_the_repository(wanted: NewServer) -> None:
    assert server_toml(wanted, SERVE) == (
        'homepage = "https://example.org/"\n'
        "\n"
        "[variants.default]\n"
        'interface = "wsgi"\n'
        'command = ["demo", "--host={host}", "--port={port}", "{app}"]\n'
        'class = "default"\n'
        'supports = ["close", "keep-alive"]\n'
        'stop = "TERM"\n'
    )


@given(homepage=st.text(), command=st.lists(st.text()))
def test_any_text_is_read_as_it_was_given(homepage: str, command: list[str]) -> None:
    text = server_toml(NewServer("demo", "wsgi", (), homepage, Path()), command)
    assert tomllib.loads(text)["homepage"] == homepage
    assert declared(text)["command"] == command


@pytest.mark.parametrize(
    "text", ["\x00", "\x1f", "\x7f", "\\", '"', "a\r\nb", "\x85", "\u2028", "\U0001f600"]
)
def test_text_that_json_and_toml_escape_differently_is_read_as_it_was_given(
    wanted: NewServer, text: str
) -> None:
    assert declared(server_toml(wanted, (text,)))["command"] == [text]


def test_a_long_word_stays_whole(wanted: NewServer) -> None:
    command = ["demo", "x" * 200, "{app}"]
    assert declared(server_toml(wanted, command))["command"] == command


@pytest.mark.parametrize(
    ("interface", "supports"),
    [("wsgi", ["close", "keep-alive"]), ("asgi", ["close", "keep-alive", "websocket"])],
)
def test_what_is_usual_for_the_interface_is_supported_unless_said_otherwise(
    wanted: NewServer, interface: str, supports: list[str]
) -> None:
    usual = replace(wanted, interface=interface)
    assert declared(server_toml(usual, SERVE))["supports"] == supports
    assert declared(server_toml(replace(usual, supports=("close",)), SERVE))["supports"] == ["close"]


# The folder -------------------------------------------------------------------------------------------------


def test_the_folder_is_pinned_hashed_and_registered(shelf: Shelf, wanted: NewServer) -> None:
    made = create(wanted, ROOT)
    registered = load_registry(ROOT, servers_dirs=[wanted.directory]).servers["demo"]
    assert registered == made
    assert made.pinned
    assert made.variants[0].command == SERVE
    assert (made.folder / "requirements.in").read_text() == "demo\n"
    (line, *_) = (made.folder / "requirements.txt").read_text().splitlines()
    assert line == "demo==1.0 \\"


def test_nothing_but_the_three_files_is_left_beside_it(shelf: Shelf, wanted: NewServer) -> None:
    folder = create(wanted, ROOT).folder
    assert list(wanted.directory.iterdir()) == [folder]
    assert {path.name for path in folder.iterdir()} == {"server.toml", "requirements.in", "requirements.txt"}


def test_packages_that_are_named_take_the_place_of_the_name(shelf: Shelf, wanted: NewServer) -> None:
    shelf.add_wheel("2.0")
    made = create(replace(wanted, name="demo_1", packages=("demo<2",)), ROOT)
    assert (made.folder / "requirements.in").read_text() == "demo<2\n"
    assert (made.folder / "requirements.txt").read_text().startswith("demo==1.0 ")


def test_a_command_in_one_argument_is_split_as_a_shell_splits_it(shelf: Shelf, wanted: NewServer) -> None:
    made = create(replace(wanted, command=("demo --title 'two words' {host}:{port} {app_file}",)), ROOT)
    assert made.variants[0].command == ("demo", "--title", "two words", "{host}:{port}", "{app_file}")


@contextmanager
def package_index(folder: Path) -> Iterator[str]:
    """The address of a package index that holds the wheels of a folder."""
    (folder / "simple").mkdir()
    (folder / "simple" / "demo").symlink_to(folder / "wheels")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer((HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}/simple"
        finally:
            server.shutdown()
            thread.join()


def test_no_file_names_the_index_that_the_packages_came_from(
    shelf: Shelf, wanted: NewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UV_NO_INDEX", "UV_OFFLINE", "UV_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", HOST)
    with package_index(shelf.folder) as address:
        monkeypatch.setenv("UV_DEFAULT_INDEX", address)
        made = create(wanted, ROOT)
    assert made.pinned
    for file in made.folder.iterdir():
        addresses = re.findall(r"\w+://\S+", file.read_text())
        assert addresses == ([f'{HOMEPAGE}"'] if file.name == "server.toml" else []), file


def test_packages_are_pinned_as_those_of_the_repository_are() -> None:
    (line,) = re.findall(
        r'^pin\(\) \{ "\$uv" (.*) "\$@"; \}$', (ROOT / "requirements/lock.sh").read_text(), re.MULTILINE
    )
    assert sorted(line.split()) == sorted(PIN)


# What is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": "Nginx-Unit"}, 'NAME: the folder name "Nginx-Unit" is the ID: lower-case letters'),
        ({"name": "Nginx-Unit"}, '; for example "nginx_unit"'),
        ({"name": "../demo"}, 'NAME: "../demo" is not a folder name; for example "demo"'),
        ({"name": ".."}, 'NAME: ".." is not a folder name; --dir says where it goes'),
        ({"name": ""}, 'NAME: "" is not a folder name'),
        (
            {"interface": "asgj"},
            '--interface: "asgj" is not allowed (did you mean "asgi"?); allowed: wsgi, asgi',
        ),
        ({"interface": ""}, '--interface: "" is not allowed; allowed: wsgi, asgi'),
        ({"homepage": ""}, "--homepage: must not be empty"),
        (
            {"supports": ("close", "keepalive")},
            '--supports: "keepalive" is not allowed (did you mean "keep-alive"?)',
        ),
        ({"supports": ()}, "--supports: must name at least one of close, keep-alive"),
        ({"supports": ("websocket",)}, '--supports: "websocket" needs interface = "asgi"'),
        ({"command": ()}, "COMMAND: must name the program to start"),
        ({"command": ("demo", "{host}", "{app}")}, "COMMAND: has no {port}"),
        ({"command": ("demo", "{port}", "{app}")}, "COMMAND: has no {host}"),
        ({"command": ("demo", "{host}:{port}")}, "COMMAND: has neither {app}"),
        ({"command": ("demo", "{host}:{port}", "{app}", "")}, "COMMAND: no item may be empty"),
        (
            {"command": ("demo {host}:{port} {app} 'open",)},
            "COMMAND: cannot be split into arguments: No closing",
        ),
        ({"packages": ("./demo",)}, '--package: "./demo" is not a package such as'),
        ({"packages": ("--index-url=x",)}, '--package: "--index-url=x" is not a package such as'),
        ({"packages": ("demo\n-r other",)}, "is not a package such as"),
        ({"packages": ("",)}, '--package: "" is not a package such as'),
        ({"homepage": "\udcff"}, r"'\udcff': is not text in UTF-8"),
    ],
)
def test_a_wrong_value_is_refused_alone_by_the_name_of_its_option(
    wanted: NewServer, change: dict[str, str], problem: str
) -> None:
    (told,) = refused(replace(wanted, **change))  # type: ignore[arg-type]  # each value has its field's type
    assert problem in told


def test_a_misspelt_placeholder_is_refused_with_the_allowed_ones(wanted: NewServer) -> None:
    (told,) = refused(replace(wanted, command=("demo", "{host}:{port}", "{app}", "{hots}")))
    assert told == (
        'COMMAND: unknown placeholder "{hots}" (did you mean "{host}"?); '
        "allowed: {app}, {app_file}, {host}, {port}, {workers}, {threads}, {work}, {folder}. "
        'If "{hots}" is to stay as it is, write "{{hots}}"'
    )


def test_a_variable_set_in_front_of_the_command_is_refused_with_the_lines_to_write(
    wanted: NewServer,
) -> None:
    (told,) = refused(replace(wanted, command=("DEMO_WORKERS=2 demo --bind {host}:{port} {app}",)))
    assert told.startswith('COMMAND: "DEMO_WORKERS=2" is no program')
    assert told.endswith('write this into server.toml:\n[variants.default.environment]\nDEMO_WORKERS = "2"')


def test_a_shells_variables_and_operators_are_refused(wanted: NewServer) -> None:
    (told,) = refused(replace(wanted, command=("cd /x && demo --bind {host}:{port} {app} --log $LOG > log",)))
    assert told.startswith('COMMAND: "cd", "&&", "$LOG", ">" are for a shell')


def test_what_a_shell_would_replace_and_a_server_may_want_is_said(shelf: Shelf, wanted: NewServer) -> None:
    command = ("demo", "{host}:{port}", "{app}", "--allow=*", "~/x")
    lines = next_steps(create(replace(wanted, command=command), ROOT), ROOT)
    for word in ("--allow=*", "~/x"):
        assert f"{word} is passed to the server as it stands: no shell sees the command." in lines


def test_every_problem_is_told_at_once(wanted: NewServer) -> None:
    wrong = NewServer("A", "asgj", ("demo",), "", wanted.directory, ("./x",), ("close", "closed"))
    said = refused(wrong)
    assert len(said) == 8
    for start in ("NAME:", "--interface:", "--homepage:", "--package:", "--supports:", "COMMAND: has n"):
        assert any(problem.startswith(start) for problem in said), start


def test_the_name_of_a_server_of_the_repository_is_taken(wanted: NewServer) -> None:
    taken = ROOT / "servers" / "waitress"
    assert refused(replace(wanted, name="waitress")) == (
        f'NAME: the name "waitress" is taken by {taken}; choose another one',
    )


@pytest.mark.parametrize("kind", ["server", "empty folder", "file", "broken link"])
def test_what_is_there_already_is_left_alone(shelf: Shelf, wanted: NewServer, kind: str) -> None:
    wanted.directory.mkdir(parents=True)
    place = wanted.directory / "demo"
    if kind == "server":
        create(wanted, ROOT)
    elif kind == "empty folder":
        place.mkdir()
    elif kind == "file":
        place.touch()
    else:
        place.symlink_to("nowhere")
    assert refused(wanted) == (f'NAME: the name "demo" is taken by {place}; choose another one',)


def test_a_package_that_nobody_has_is_refused_with_the_last_lines_of_uv(
    shelf: Shelf, wanted: NewServer
) -> None:
    (problem,) = refused(replace(wanted, packages=("demo==7",)))
    assert problem.startswith("--package: demo==7: cannot be pinned; name what has to be installed")
    assert "there is no version of demo==7" in problem


def test_an_address_in_place_of_a_package_is_refused_since_it_cannot_be_pinned(
    shelf: Shelf, wanted: NewServer
) -> None:
    (wheel,) = shelf.wheels.iterdir()
    (problem,) = refused(replace(wanted, packages=(f"demo @ file://{wheel}",)))
    assert problem.startswith("--package: demo @ file://")
    assert "must be pinned with == and hashed" in problem


def test_a_folder_of_servers_that_is_a_server_itself_is_refused(wanted: NewServer) -> None:
    wanted.directory.mkdir(parents=True)
    (wanted.directory / "server.toml").touch()
    (problem,) = refused(wanted)
    assert problem == f"--dir: {wanted.directory}: holds server.toml itself; name the folder above it"


@pytest.mark.parametrize("below", [".", "below"])
def test_a_folder_of_servers_that_cannot_be_one_is_refused(
    tmp_path: Path, wanted: NewServer, below: str
) -> None:
    (tmp_path / "file").touch()
    (problem,) = refused(replace(wanted, directory=tmp_path / "file" / below))
    assert problem.startswith(f"--dir: {tmp_path / 'file' / below}: the new folder cannot be made there: ")


def test_a_name_that_the_file_system_cannot_hold_is_refused(wanted: NewServer) -> None:
    (problem,) = refused(replace(wanted, name="a" * 300))
    assert "the new folder cannot be made there: File name too long" in problem


# What comes next --------------------------------------------------------------------------------------------


def test_the_next_commands_are_those_of_make(shelf: Shelf, wanted: NewServer) -> None:
    directory = wanted.directory
    files, declares, where, *following = next_steps(create(wanted, ROOT), ROOT)
    assert files == f"{directory / 'demo'}: server.toml, requirements.in and requirements.txt"
    assert declares == "It declares close, keep-alive: `verify` says which of these do not hold."
    assert where == f"Next, in {ROOT}:"
    assert following == [
        f"  make verify SERVERS_DIR={directory} SERVERS=demo",
        f"  make bench SERVERS_DIR={directory} SERVERS=demo",
    ]


def test_a_folder_in_the_repository_is_named_from_there(shelf: Shelf, wanted: NewServer) -> None:
    root = wanted.directory.parent
    lines = next_steps(create(wanted, root), root)
    assert "  make verify SERVERS=demo" in lines  # `servers/` needs no option
    assert lines[-1].startswith("CONTRIBUTING.md ")
    lines = next_steps(create(replace(wanted, name="other", packages=("demo",)), root), root.parent)
    assert "  make verify SERVERS_DIR=my/servers SERVERS=other" in lines


def test_a_folder_whose_name_make_would_misread_is_named_to_the_command_itself(
    shelf: Shelf, wanted: NewServer
) -> None:
    directory = wanted.directory.parent / "two words"
    *_, verify, bench = next_steps(create(replace(wanted, directory=directory), ROOT), ROOT)
    assert verify == f"  .venv/bin/gatebench verify --servers-dir '{directory}' --servers demo"
    assert bench == f"  .venv/bin/gatebench run --servers-dir '{directory}' --servers demo"
