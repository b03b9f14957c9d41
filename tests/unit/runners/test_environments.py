"""Each server gets an environment of its own: made once, reused, and explained where it cannot be had."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from gatebench.runners.process.environments import (
    Environment,
    Unavailable,
    Wanted,
    environment_folder,
    explain,
    missing_needs,
    remedy_for,
    uv_variables,
)
from gatebench.words.errors import GatebenchError
from gatebench.words.paths import HOST
from tests.support.shelf import VARIANT, Shelf

NEEDY = replace(VARIANT, needs=("no-such-command",))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    shelf = Shelf(tmp_path)
    monkeypatch.setenv("UV_FIND_LINKS", str(shelf.wheels))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return shelf


def environment(made: Environment | Unavailable) -> Environment:
    assert isinstance(made, Environment), made
    return made


def reason(made: Environment | Unavailable) -> str:
    assert isinstance(made, Unavailable), made
    return made.reason


def test_a_server_gets_an_environment_with_its_command_and_its_versions(shelf: Shelf) -> None:
    made, _ = shelf.prepare(shelf.server(shelf.add_wheel()))
    found = environment(made["demo"])
    assert found.packages == {"demo": "1.0"}
    assert subprocess.check_output([found.bin / "demo"], text=True) == "served\n"


def test_an_environment_is_reused_without_installing_again(shelf: Shelf) -> None:
    server = shelf.server(shelf.add_wheel())
    first, said = shelf.prepare(server)
    again, nothing = shelf.prepare(server)
    assert again == first
    assert [line.split(" into ")[0] for line in said] == ["demo: installing", "demo: installed"]
    assert nothing == []


def test_another_version_gets_another_environment(shelf: Shelf) -> None:
    one = shelf.server(shelf.add_wheel("1.0"), "one")
    two = shelf.server(shelf.add_wheel("2.0"), "two")
    made, _ = shelf.prepare(one, two)
    assert environment(made["one"]).packages == {"demo": "1.0"}
    assert environment(made["two"]).packages == {"demo": "2.0"}


def test_an_environment_that_was_not_finished_is_made_again(shelf: Shelf) -> None:
    server = shelf.server(shelf.add_wheel())
    leftover = environment_folder(Wanted(server), shelf.cache) / "bin" / "leftover"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    made, _ = shelf.prepare(server)
    assert environment(made["demo"]).packages == {"demo": "1.0"}
    assert not leftover.exists()


def test_a_cache_that_was_moved_is_made_again_since_scripts_hold_paths(shelf: Shelf) -> None:
    server = shelf.server(shelf.add_wheel())
    shelf.prepare(server)
    shelf.cache = shelf.cache.rename(shelf.folder / "moved")
    made, said = shelf.prepare(server)
    assert said
    assert subprocess.check_output([environment(made["demo"]).bin / "demo"], text=True) == "served\n"


def test_two_runs_at_once_install_only_once(shelf: Shelf) -> None:
    server = shelf.server(shelf.add_wheel())
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda _: shelf.prepare(server), range(3)))
    assert all(environment(made["demo"]).packages == {"demo": "1.0"} for made, _ in runs)
    assert sum(len(said) for _, said in runs) == 2


def test_a_package_that_is_not_the_pinned_one_is_refused(shelf: Shelf) -> None:
    shelf.add_wheel()
    made, said = shelf.prepare(shelf.server(f"demo==1.0 --hash=sha256:{'0' * 64}\n"))
    assert "Hash mismatch" in reason(made["demo"])
    assert "a package is not the one that was pinned" in reason(made["demo"])
    assert said[-1].startswith("demo: unavailable: ")
    assert not list(shelf.cache.glob("demo-*"))


def test_a_server_that_cannot_be_installed_stops_no_other(shelf: Shelf) -> None:
    good = shelf.server(shelf.add_wheel(), "good")
    made, _ = shelf.prepare(shelf.server("missing==1.0\n", "bad"), good)
    assert "missing" in reason(made["bad"])
    assert environment(made["good"]).packages == {"demo": "1.0"}


def test_a_server_whose_every_variant_lacks_a_command_is_not_tried(shelf: Shelf) -> None:
    made, _ = shelf.prepare(shelf.server(shelf.add_wheel(), variant=NEEDY))
    assert reason(made["demo"]) == ("the command no-such-command is missing: run `apt-get install such`")
    assert not list(shelf.cache.glob("demo-*"))


def test_a_command_may_come_from_the_servers_own_environment(shelf: Shelf) -> None:
    made, _ = shelf.prepare(shelf.server(shelf.add_wheel()))
    variant = replace(VARIANT, needs=("demo", "no-such-command", "sh"))
    assert missing_needs(variant, environment(made["demo"])) == ("no-such-command",)
    assert missing_needs(variant, None) == ("demo", "no-such-command")


def test_a_missing_command_without_a_remedy_is_still_named(shelf: Shelf) -> None:
    text = remedy_for(shelf.server(""), ("no-such-command", "other"))
    assert text == (
        "the command no-such-command is missing: run `apt-get install such`; "
        "the command other is missing: install it"
    )


def test_a_cache_that_cannot_be_made_is_an_error_that_names_it(shelf: Shelf) -> None:
    shelf.cache.touch()
    with pytest.raises(GatebenchError, match="environments: cannot be made"):
        shelf.prepare()


def test_a_users_settings_of_uv_change_nothing_but_where_packages_come_from() -> None:
    given = {
        "PATH": "/bin",
        "VIRTUAL_ENV": "/mine",
        "UV_RESOLUTION": "lowest",
        "UV_INDEX_MIRROR_PASSWORD": "secret",
        "UV_DEFAULT_INDEX": "https://uv.example/",
        "PIP_INDEX_URL": "https://pip.example/",
        "PIP_EXTRA_INDEX_URL": "https://more.example/",
        "PIP_FIND_LINKS": "/a /b",
        "UV_HTTP_TIMEOUT": "60",
    }
    variables = uv_variables(given)
    assert "UV_RESOLUTION" not in variables
    assert "VIRTUAL_ENV" not in variables
    assert variables["UV_INDEX_MIRROR_PASSWORD"] == given["UV_INDEX_MIRROR_PASSWORD"]
    assert variables["UV_DEFAULT_INDEX"] == "https://uv.example/"
    assert variables["UV_INDEX"] == "https://more.example/"
    assert variables["UV_FIND_LINKS"] == "/a,/b"
    assert variables["UV_HTTP_TIMEOUT"] == "60"
    assert variables["UV_NO_CONFIG"] == "1"


@pytest.mark.parametrize(
    ("output", "step"),
    [
        ("cause: No space left on device (os error 28)", "free some space"),
        ("cause: Hash mismatch for `demo==1.0`", "uv cache clean"),
        ("Failed to fetch: `https://x/`\n  cause: dns error", "name a mirror in UV_DEFAULT_INDEX"),
        ("hint: Packages were unavailable because the network was disabled", "run it once with the network"),
        (
            "No solution found when resolving:\nBecause demo was not found in the package registry",
            "does not exist: correct the requirements",
        ),
        ("No solution found when resolving dependencies:\nBecause a==1 and b==2", "contradict each other"),
        ("Failed to build `demo==1.0`\n  cc: not found", "has to be compiled here"),
    ],
)
def test_a_known_failure_of_uv_comes_with_the_next_step(output: str, step: str) -> None:
    text = explain(output)
    assert text.endswith(output.splitlines()[-1])
    assert step in text


def test_an_unknown_failure_of_uv_is_quoted_by_its_last_lines() -> None:
    output = "".join(f"line {number}\n\n" for number in range(100))
    assert explain(output).splitlines() == [f"line {number}" for number in range(92, 100)]


def test_an_index_that_cannot_be_reached_is_said_so(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_OFFLINE", "UV_NO_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")  # the discard port: nobody listens
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    made, _ = shelf.prepare(shelf.server("demo==1.0\n"))
    assert "the package index cannot be reached" in reason(made["demo"])


@contextmanager
def index_of(shelf: Shelf) -> Iterator[tuple[str, list[str]]]:
    """A package index that serves the shelf's wheels and lets nobody keep them; and what it was asked."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            asked.append(self.path)
            self.send_header("Cache-Control", "no-cache")
            super().end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), partial(Handler, directory=shelf.wheels)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{HOST}:{server.server_port}/", asked
        finally:
            server.shutdown()


def test_what_is_pinned_and_in_the_cache_is_asked_of_no_index(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_OFFLINE")
    pinned, server = shelf.add_wheel(), shelf.server
    with index_of(shelf) as (address, asked):
        monkeypatch.setenv("UV_FIND_LINKS", address)
        environment(shelf.prepare(server(pinned))[0]["demo"])
        assert asked
        asked.clear()
        environment(shelf.prepare(server(f"{pinned}# another environment\n"))[0]["demo"])
        assert asked == []
        environment(shelf.prepare(server("demo\n"))[0]["demo"])  # of what is not pinned, the newest is wanted
        assert asked


def test_of_a_pair_that_is_not_pinned_what_the_server_pins_still_comes_from_the_cache(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_OFFLINE")
    server = shelf.server(shelf.add_wheel())
    shelf.add_wheel("2.0", name="framework")
    with index_of(shelf) as (address, asked):
        monkeypatch.setenv("UV_FIND_LINKS", address)
        environment(shelf.prepare(server)[0]["demo"])
        asked.clear()
        made, _ = shelf.prepare_pair(server, shelf.application("framework\n"))
        assert environment(made).packages == {"demo": "1.0", "framework": "2.0"}
        assert [path for path in asked if "framework-2.0" in path]
        assert not [path for path in asked if "demo-1.0" in path]


# A server together with an application ----------------------------------------------------------------------


def test_an_application_is_installed_together_with_its_server_and_beside_the_servers_own(
    shelf: Shelf,
) -> None:
    server = shelf.server(shelf.add_wheel())
    pair, said = shelf.prepare_pair(server, shelf.application(shelf.add_wheel("3.0", "frame", needs="demo")))
    assert environment(pair).packages == {"demo": "1.0", "frame": "3.0"}
    assert [line.split(" into ")[0] for line in said] == ["demo+mine: installing", "demo+mine: installed"]
    alone, _ = shelf.prepare(server)
    assert environment(alone["demo"]).packages == {"demo": "1.0"}


def test_a_pair_is_reused_until_the_requirements_of_one_of_them_change(shelf: Shelf) -> None:
    server, frame = shelf.server(shelf.add_wheel()), shelf.add_wheel("3.0", "frame")
    first, _ = shelf.prepare_pair(server, shelf.application(frame))
    again, nothing = shelf.prepare_pair(server, shelf.application(frame))
    assert again == first
    assert nothing == []
    newer, _ = shelf.prepare_pair(server, shelf.application(shelf.add_wheel("4.0", "frame")))
    assert environment(newer).packages == {"demo": "1.0", "frame": "4.0"}


def test_where_both_pin_a_package_the_servers_version_is_installed(shelf: Shelf) -> None:
    older, newer = shelf.add_wheel("1.0"), shelf.add_wheel("2.0")
    pair, _ = shelf.prepare_pair(shelf.server(older), shelf.application(newer))
    assert environment(pair).packages == {"demo": "1.0"}


def test_a_pair_whose_requirements_contradict_each_other_is_unavailable_with_the_reason(shelf: Shelf) -> None:
    server = shelf.server(shelf.add_wheel("1.0"))
    frame = shelf.add_wheel("3.0", "frame", needs="demo>=2")
    pair, said = shelf.prepare_pair(server, shelf.application(frame + shelf.add_wheel("2.0")))
    assert "the requirements contradict each other" in reason(pair)
    assert "depend on demo>=2 and you require demo==1.0" in " ".join(reason(pair).split())
    assert said[-1].startswith("demo+mine: unavailable: ")
    assert not [path for path in shelf.cache.glob("demo+mine-*") if path.is_dir()]
