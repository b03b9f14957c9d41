"""Placeholders, braces that are none, what only a shell understands, and the folder's own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatebench.registry.registry import load_registry
from gatebench.registry.servers import parse_server
from gatebench.results.bundle import keep_sources, kept_registry
from gatebench.runners.docker.services import server_service
from gatebench.runners.docker.staging import stage_server
from gatebench.words.commands import fill, fill_table
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import Application, Subject, takes_workers
from gatebench.words.options import Budget
from gatebench.words.paths import ROOT
from tests.support.folders import SERVER, server_problems, write_server


def with_command(tmp_path: Path, command: str) -> Path:
    return write_server(tmp_path, SERVER.replace('["demo", "--bind={host}:{port}", "{app}"]', command))


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ('f"{{host}}:{{port}}"', 'f"{host}:{port}"'),
        ("{{anything}} {host}", "{anything} 127.0.0.1"),
        ('%({x-forwarded-for}i)s %({host}i)s "%(r)s"', '%({x-forwarded-for}i)s %({host}i)s "%(r)s"'),
        ("${host} %{port} $host", "${host} %{port} $host"),
        ("{{ name }} {% x %}", "{{ name }} {% x %}"),
        ('{"a": {"b": {port}}}', '{"a": {"b": 8000}}'),
        ("${HOST:-{host}} ${PORT:-8000} ${A:-${B:-x}}", "${HOST:-127.0.0.1} ${PORT:-8000} ${A:-${B:-x}}"),
        ("location / { listen {host}:{port}; }", "location / { listen 127.0.0.1:8000; }"),
        ("{x!r} {y:>3} {z.a} {}", "{x!r} {y:>3} {z.a} {}"),
    ],
)
def test_braces_of_a_files_own_are_kept_and_doubled_ones_are_single(
    tmp_path: Path, text: str, filled: str
) -> None:
    head = SERVER[: SERVER.index('"demo.conf"')]
    folder = write_server(tmp_path, f"{head}'demo.conf' = '''{text}'''\n")
    (variant,) = parse_server(folder).variants
    assert fill_table(variant.files, {"host": "127.0.0.1", "port": "8000"}) == {"demo.conf": filled}


def test_a_word_in_braces_that_is_no_placeholder_is_refused_with_what_to_write(tmp_path: Path) -> None:
    (problem,) = server_problems(tmp_path, "{threads}", "{project}")
    assert 'unknown placeholder "{project}"' in problem
    assert 'If "{project}" is to stay as it is, write "{{project}}"' in problem


def test_a_server_that_is_not_told_its_port_is_refused(tmp_path: Path) -> None:
    script = "serve --host ${HOST:-{host}} --port ${PORT:-8000} {app}"
    with pytest.raises(ConfigurationError) as caught:
        parse_server(with_command(tmp_path, f'["sh", "-c", "{script}"]'))
    (problem,) = caught.value.problems
    assert "variants.default.command: has no {port}" in problem
    assert "${PORT:-{port}}" in problem


def test_the_port_may_stand_in_the_environment_or_in_a_file(tmp_path: Path) -> None:
    text = SERVER.replace("{host}:{port}", "0")
    parse_server(write_server(tmp_path, text.replace('"1"', '"{port}"')))
    (tmp_path / "demo" / "server.toml").write_text(text.replace("{threads}", "{port}"))
    assert parse_server(tmp_path / "demo").name == "demo"


def test_a_shell_may_be_started_with_defaults_of_its_own(tmp_path: Path) -> None:
    script = "serve --host ${HOST:-{host}} --port ${PORT:-{port}} -n ${N:-2} {app} > log && true"
    (variant,) = parse_server(with_command(tmp_path, f'["sh", "-c", "{script}"]')).variants
    filled = fill(variant.command, {"host": "127.0.0.1", "port": "1", "app": "m:app"})
    assert filled[2] == "serve --host ${HOST:-127.0.0.1} --port ${PORT:-1} -n ${N:-2} m:app > log && true"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ('["A=1", "B=x y", "demo", "{port}"]', '[variants.default.environment]\nA = "1"\nB = "x y"'),
        ('["PORT={port}", "demo"]', '[variants.default.environment]\nPORT = "{port}"'),
        ('["cd", "x", "demo", "{port}"]', '"cd" is for a shell'),
        ('["demo", "&&", "other", "{port}"]', '"&&" is for a shell'),
        ('["demo", "|", "other", "{port}"]', '"|" is for a shell'),
        ('["demo", ";", "other", "{port}"]', '";" is for a shell'),
        ('["demo", ">", "log", "{port}"]', '">" is for a shell'),
        ('["demo", "2>&1", "{port}"]', '"2>&1" is for a shell'),
        ('["demo", ">log", "{port}"]', '">log" is for a shell'),
        ('["demo", "--port", "$PORT", "{port}"]', '"$PORT" is for a shell'),
        ('["demo", "--port=${PORT:-8000}", "{port}"]', '"--port=${PORT:-8000}" is for a shell'),
    ],
)
def test_what_only_a_shell_would_understand_is_refused_with_what_to_write_instead(
    tmp_path: Path, command: str, expected: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_server(with_command(tmp_path, command))
    (problem,) = caught.value.problems
    assert problem.startswith(f"{tmp_path / 'demo' / 'server.toml'}: variants.default.command: ")
    assert expected in problem


@pytest.mark.parametrize("word", ["*", "a=b", "--x=1", "x;y", "/usr/bin/env", "a|b", "$(x)", "~"])
def test_words_that_a_server_may_want_as_they_are_are_accepted(tmp_path: Path, word: str) -> None:
    (variant,) = parse_server(with_command(tmp_path, f'["env", "A={{port}}", "demo", "{word}"]')).variants
    assert variant.command[-1] == word


def test_the_environment_has_placeholders_as_well(tmp_path: Path) -> None:
    (variant,) = parse_server(write_server(tmp_path, SERVER.replace('"1"', '"{workers}"'))).variants
    assert fill_table(variant.environment, {"workers": "3"}) == {"DEMO": "3"}
    assert variant.takes_workers


def test_a_placeholder_misspelt_in_the_environment_is_refused(tmp_path: Path) -> None:
    (problem,) = server_problems(tmp_path, '"1"', '"{prot}"')
    assert 'environment.DEMO: unknown placeholder "{prot}" (did you mean "{port}"?)' in problem


def test_only_a_placeholder_says_how_many_workers_there_are() -> None:
    assert takes_workers(["--workers={workers}"])
    assert not takes_workers(["{{workers}}", "${workers}"])


@pytest.mark.parametrize("where", ["command", "files", "environment"])
def test_a_file_of_the_folder_that_is_named_must_be_there(tmp_path: Path, where: str) -> None:
    text = {
        "command": SERVER.replace('"demo",', '"demo", "--config={folder}/conf/demo.py",'),
        "files": SERVER.replace("threads {threads};", "include {folder}/conf/demo.py;"),
        "environment": SERVER.replace('"1"', '"{folder}/conf/demo.py"'),
    }[where]
    folder = write_server(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        parse_server(folder)
    (problem,) = caught.value.problems
    assert f"variants.default.{where}" in problem
    assert f'there is no file "conf/demo.py" in {folder}' in problem
    (folder / "conf").mkdir()
    (folder / "conf" / "demo.py").touch()
    parse_server(folder)


@pytest.mark.parametrize(("named", "said"), [(".env", "is hidden"), ("../other", "lies outside")])
def test_a_file_that_neither_an_image_nor_a_bundle_would_hold_is_refused(
    tmp_path: Path, named: str, said: str
) -> None:
    folder = write_server(tmp_path, SERVER.replace('"demo",', f'"demo", "{{folder}}/{named}",'))
    (folder / named).touch()
    with pytest.raises(ConfigurationError, match=said):
        parse_server(folder)


SHIPPED = load_registry(ROOT).applications["plain"]
APPLICATION = Application("own", Path("/elsewhere/own"), Path("/elsewhere"), "own.wsgi:app", None)


def with_folder(tmp_path: Path) -> Path:
    folder = write_server(tmp_path, SERVER.replace('"demo",', '"demo", "--config={folder}/demo.py",'))
    (folder / "demo.py").write_text("answer = 42\n")
    return folder


def test_in_an_image_the_folder_is_where_its_files_are(tmp_path: Path) -> None:
    server = parse_server(with_folder(tmp_path))
    subject = Subject(server, server.variants[0], APPLICATION)
    service = server_service(subject, image="x", host="h", port="1", budget=Budget((), 1, 1))
    assert "--config=/srv/servers/demo/demo.py" in service.command
    staged = stage_server(server, (), tmp_path / "context")
    assert (staged.context / "servers" / "demo" / "demo.py").read_text() == "answer = 42\n"


def test_a_dockerfile_of_its_own_has_to_copy_a_folder_that_is_named(tmp_path: Path) -> None:
    folder = with_folder(tmp_path)
    (folder / "Dockerfile").write_text("FROM python\n")
    server = parse_server(folder)
    with pytest.raises(ConfigurationError, match="add: COPY servers/demo/ /srv/servers/demo/"):
        stage_server(server, (), tmp_path / "context")
    (folder / "Dockerfile").write_text("FROM python\nCOPY servers/demo/ /srv/servers/demo/\n")
    stage_server(server, (), tmp_path / "again")


def test_what_is_kept_of_a_run_holds_the_files_and_says_where_one_is_gone(tmp_path: Path) -> None:
    server = parse_server(with_folder(tmp_path))
    keep_sources([Subject(server, server.variants[0], SHIPPED)], (), tmp_path / "kept")
    kept = tmp_path / "kept" / "servers" / "demo"
    assert kept_registry(tmp_path / "kept").servers["demo"].folder == kept
    (kept / "demo.py").unlink()
    with pytest.raises(ConfigurationError, match=r'there is no file "demo\.py" in .*kept/servers/demo'):
        kept_registry(tmp_path / "kept")
