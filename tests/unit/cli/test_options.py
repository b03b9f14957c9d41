"""An option is declared once: Make's variables reach it, and nobody else's do."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from gatebench.cli import app, options
from gatebench.cli.run import check_bind, choose_profile, words
from gatebench.explain.trace import TRACE_VARIABLE
from gatebench.load.process import LOCUST_PORT
from gatebench.machine.processes import OWNER_VARIABLE
from gatebench.runners.docker.services import FILES_VARIABLE
from gatebench.words.errors import ConfigurationError
from gatebench.words.options import LoadOptions
from gatebench.words.paths import HOST, ROOT
from tools.documents.tables import OPTIONS

COMMANDS = typer.main.get_group(app.app).commands
DECLARED = {
    parameter.envvar: parameter.name
    for command in COMMANDS.values()
    for parameter in command.params
    if parameter.envvar
}
RECORDER = """\
#!{python}
import json, os, sys
given = {{name: value for name, value in os.environ.items() if name.startswith("GATEBENCH_")}}
print(json.dumps([sys.argv[1:], given]))
"""
IN_EVERY_ENVIRONMENT = {"HOST": "box", "PORT": "80", "APP": "x", "RUN": "x", "OUT": "/out", "COMMAND": "x"}


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment whose `gatebench` prints what it is given."""
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    command = folder / "bin" / "gatebench"
    command.write_text(RECORDER.format(python=sys.executable))
    command.chmod(0o755)
    for name in (".uv", ".lab"):
        (folder / name).touch()
    return folder


def parsed(arguments: list[str], variables: dict[str, str], patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The values that a command gets."""
    name, *rest = arguments
    with patch.context() as environment:
        for variable, value in variables.items():
            environment.setenv(variable, value)
        with typer.main.get_group(app.app).make_context("gatebench", [name]) as whole:
            return dict(COMMANDS[name].make_context(name, rest, parent=whole).params)


def made(venv: Path, *words: str, **environment: str) -> tuple[list[str], dict[str, str]]:
    """What `make` gives to the command, as arguments and as variables."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in {*OPTIONS, "NAME", "COMMAND"} and not name.startswith(("GATEBENCH_", "MAKE", "MFLAGS"))
    }
    done = subprocess.run(
        ["make", "--silent", *words, f"VENV={venv}"],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    arguments, variables = json.loads(done.stdout)
    return arguments, variables


def test_every_variable_of_make_is_an_option_and_every_options_variable_is_one_of_make() -> None:
    assert {f"GATEBENCH_{name}" for name in OPTIONS} == set(DECLARED)


@pytest.mark.parametrize("command", [*COMMANDS])
def test_what_is_in_everybodys_environment_changes_no_command(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = {"GATEBENCH_A": "a", "GATEBENCH_B": "b", "GATEBENCH_SERVER": "uvicorn", "GATEBENCH_RUN": "run"}
    arguments = [command, *(["mine"] if command == "new-server" else [])]
    others = dict.fromkeys(OPTIONS, "7") | IN_EVERY_ENVIRONMENT
    assert parsed(arguments, needed | others, monkeypatch) == parsed(arguments, needed, monkeypatch)


def test_make_gives_values_with_spaces_globs_and_quotes_whole(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("SERVERS=uvicorn gunicorn-*", 'OUT=results/it\'s "mine"', "RUNNER=process", "EXCLUSIVE=1")
    options_of_run = parsed(*made(venv, "bench", *given), monkeypatch)
    assert options_of_run["servers"] == ["uvicorn", "gunicorn-*"]
    assert options_of_run["out"] == Path('results/it\'s "mine"')
    assert options_of_run["runner"] == "process"
    assert options_of_run["exclusive"] is True


def test_make_says_what_it_was_given_and_a_command_refuses_what_it_does_not_take(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, variables = made(venv, "resume", "SERVERS=uvicorn", "STRICT=1", RUNNER="process")
    with pytest.raises(ConfigurationError) as refused:
        parsed(arguments, variables, monkeypatch)
    assert refused.value.problems == ("resume takes no SERVERS, only LOAD_BIND, PRECISION, RUN, STRICT",)


def test_a_message_names_what_the_person_typed(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "--paths: x; name it (--app, --apps), or --app-env=A=… or --varies='a$'; --appx a--app\n"
        "last lines of granian:\n--workers 1"
    )
    parsed(["run", "--paths", "/"], {}, monkeypatch)
    assert options.as_typed(text) == text
    arguments, variables = made(venv, "bench", "PATHS=/")
    parsed(arguments, variables, monkeypatch)
    assert options.as_typed(text) == (
        "PATHS: x; name it (APP, APPS), or APP_ENV=A=… or VARIES='a$$'; --appx a--app\n"
        "last lines of granian:\n--workers 1"
    )
    parsed(["list"], {}, monkeypatch)
    assert options.as_typed(text) == text


def test_of_several_targets_each_takes_the_variables_that_it_knows(venv: Path) -> None:
    done = subprocess.run(
        ["make", "--silent", "verify", "bench", "BUDGET=1m", f"VENV={venv}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for line in done.stdout.splitlines():
        assert "GATEBENCH_GIVEN" not in json.loads(line)[1]


def test_a_misspelt_variable_is_refused_with_the_near_one(monkeypatch: pytest.MonkeyPatch) -> None:
    own = dict.fromkeys(options.NOT_OPTIONS, "x")
    assert parsed(["list"], own, monkeypatch) == parsed(["list"], {}, monkeypatch)
    with pytest.raises(ConfigurationError, match=r'GATEBENCH_SERVRES: .*did you mean "SERVERS"'):
        parsed(["run"], {"GATEBENCH_SERVRES": "uvicorn"}, monkeypatch)


def test_the_labs_own_variables_are_no_options() -> None:
    assert {OWNER_VARIABLE, TRACE_VARIABLE, FILES_VARIABLE} == options.NOT_OPTIONS


def test_every_value_of_the_wrong_type_is_reported_whether_typed_or_from_a_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parsed(["run", "--workers", "two", "--seed", "x"], {"GATEBENCH_EXCLUSIVE": "maybe"}, monkeypatch)
    assert [problem.partition(": input")[0] for problem in refused.value.problems] == [
        '--seed: "x"',
        '--exclusive: "maybe"',
        '--workers: "two"',
    ]
    with pytest.raises(ConfigurationError) as refused:
        parsed(["serve", "--port", "0"], {}, monkeypatch)
    assert refused.value.problems == (
        "SERVER: is missing; `gatebench serve --help` shows what it is",
        '--port: "0": input should be greater than or equal to 1',
    )


def test_a_selection_that_names_nothing_does_not_select_everything() -> None:
    assert words(["gunicorn-* uvicorn", "daphne,waitress"]) == ("gunicorn-*", "uvicorn", "daphne", "waitress")
    assert words(None, "--servers") == ()
    with pytest.raises(ConfigurationError, match="--servers: names nothing"):
        words([" "], "--servers")


def test_a_wrong_profile_hides_no_wrong_budget() -> None:
    with pytest.raises(ConfigurationError) as refused:
        choose_profile("standart", "soon")
    assert len(refused.value.problems) == 2
    assert 'did you mean "standard"?' in refused.value.problems[1]


def test_a_place_for_workers_that_is_taken_is_refused_before_anything_starts() -> None:
    with socket.create_server((HOST, LOCUST_PORT)):
        with pytest.raises(
            ConfigurationError, match=rf"--load-bind: .*{HOST}:{LOCUST_PORT}: Address already"
        ):
            check_bind(LoadOptions(workers=1, bind=HOST))
        check_bind(LoadOptions())
    with pytest.raises(ConfigurationError, match=r"--load-bind: .*198\.51\.100\.7:"):
        check_bind(LoadOptions(workers=1, bind="198.51.100.7"))


def test_make_splits_folders_files_and_locust_options_at_spaces(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("SERVERS_DIR=../a:b ../c", "CLAIMS=one.toml two.toml", "LOCUST_OPTION=page=/json size=3")
    options_of_run = parsed(*made(venv, "bench", *given), monkeypatch)
    assert options_of_run["servers_dir"] == [Path("../a:b"), Path("../c")]
    assert options_of_run["claims"] == [Path("one.toml"), Path("two.toml")]
    assert options_of_run["locust_option"] == ["page=/json", "size=3"]


def test_a_variable_that_is_empty_is_not_given(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = [f"{name}=" for name in OPTIONS]
    assert parsed(*made(venv, "bench", *empty), monkeypatch) == parsed(["run"], {}, monkeypatch)


def test_make_takes_variables_from_its_environment_as_well(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options_of_run = parsed(*made(venv, "bench", SERVERS="uvicorn", GATEBENCH_RUNNER="docker"), monkeypatch)
    assert options_of_run["servers"] == ["uvicorn"]
    assert options_of_run["runner"] == "docker"


def test_smoke_is_the_smoke_profile_whatever_the_variable_says(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parsed(*made(venv, "smoke", "PROFILE=full"), monkeypatch)["profile"] == "smoke"


def test_make_gives_explain_its_request(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ("INTERFACE=asgi", "SERVER=uvicorn", "ROUTE=/ws/echo")
    asked = parsed(*made(venv, "explain", *given), monkeypatch)
    assert (asked["interface"], asked["subject"], asked["path"]) == ("asgi", "uvicorn", "/ws/echo")
    assert parsed(*made(venv, "explain"), monkeypatch)["interface"] == "wsgi"


@pytest.mark.parametrize("target", ["report", "bundle", "resume"])
def test_make_takes_the_newest_run_where_none_is_named(
    target: str, venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parsed(*made(venv, target), monkeypatch)["folder"] == Path("results/latest")
    assert parsed(*made(venv, target, "RUN=my run"), monkeypatch)["folder"] == Path("my run")


def test_make_gives_a_new_server_its_command_as_one_word(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = "mine --name 'a b' --bind {host}:{port} {app}"
    given = ("NAME=mine", f"COMMAND={command}", "PACKAGE=mine==1.0 other", "SERVERS_DIR=../a ../b")
    wanted = parsed(*made(venv, "new-server", *given), monkeypatch)
    assert (wanted["name"], wanted["command"]) == ("mine", [command])
    assert wanted["package"] == ["mine==1.0", "other"]
    assert wanted["directory"] == Path("../a")


def test_a_command_is_recorded_with_the_options_that_came_from_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    @typer_command
    def reproduce(
        ctx: typer.Context,
        source: options.RunFolder,
        servers: options.ServerNames = None,
        exclusive: bool = typer.Option(False, envvar="GATEBENCH_EXCLUSIVE"),
        seed: int = 1,
    ) -> None:
        said.append(options.typed_command(ctx))

    monkeypatch.setattr(sys, "argv", ["gatebench", "reproduce", "--seed", "7"])
    monkeypatch.setenv("GATEBENCH_SERVERS", "uvicorn 'x'")
    monkeypatch.setenv("GATEBENCH_RUN", "my run")
    monkeypatch.setenv("GATEBENCH_EXCLUSIVE", "1")
    reproduce(["reproduce", "--seed", "7"])

    words = shlex.split(said[0])
    assert words[:4] == ["gatebench", "reproduce", "--seed", "7"]
    assert sorted(words[4:]) == sorted(["my run", "--servers", "uvicorn", "--servers", "'x'", "--exclusive"])


def test_what_a_command_starts_sees_no_variable_of_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []

    @typer_command
    def report(claims: options.Claims = None) -> None:
        assert claims == [Path("mine.toml")]
        seen.append(dict(os.environ))

    monkeypatch.setenv("GATEBENCH_CLAIMS", "mine.toml")
    monkeypatch.setenv("GATEBENCH_OWNER", "kept: it is no option")
    report(["report"])
    assert "GATEBENCH_CLAIMS" not in seen[0]
    assert "GATEBENCH_OWNER" in seen[0]


def typer_command(function: Any) -> Any:
    """A program with this command and one more, called with its arguments."""
    program = typer.Typer()
    program.command(cls=options.Command)(function)
    program.command("other")(lambda: None)
    return lambda arguments: typer.main.get_command(program).main(arguments, standalone_mode=False)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("WORKLOAD=close", "there is no variable WORKLOAD; there are PROFILE"),
        ("SERVER=uvicorn", "SERVER is for serve, ui and explain; SERVERS chooses those of a run"),
    ],
)
def test_make_refuses_a_variable_that_would_be_taken_for_nothing(given: str, complaint: str) -> None:
    done = subprocess.run(("make", "bench", given), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_make_takes_no_notice_of_other_variables_in_the_environment() -> None:
    others = {**os.environ, "WORKLOAD": "close", "SERVER": "uvicorn"}
    done = subprocess.run(("make", "help"), cwd=ROOT, env=others, capture_output=True, text=True, check=True)
    assert "make bench" in done.stdout
