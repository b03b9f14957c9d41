"""Configuration is strict: every problem is reported at once, with file, key and allowed values."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatebench.registry.servers import parse_application, parse_server
from gatebench.registry.workloads import parse_workload
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import Application, Expects, Level, Subject
from gatebench.words.text import seconds
from tests.support.folders import HASH, REQUIREMENTS, SERVER, WORKLOAD, server_problems, write_server


def write_workload(tmp_path: Path, text: str = WORKLOAD) -> Path:
    folder = tmp_path / "short-answers"
    folder.mkdir()
    (folder / "workload.toml").write_text(text)
    return folder


def workload_problems(tmp_path: Path, old: str, new: str) -> tuple[str, ...]:
    assert old in WORKLOAD
    folder = write_workload(tmp_path, WORKLOAD.replace(old, new))
    with pytest.raises(ConfigurationError) as caught:
        parse_workload(folder)
    return caught.value.problems


def test_a_server_folder_is_read_in_full(tmp_path: Path) -> None:
    server = parse_server(write_server(tmp_path))
    (variant,) = server.variants
    assert (server.name, server.homepage, server.pinned) == ("demo", "https://example.org/", True)
    assert server.remedies == {"cc": "apt-get install gcc"}
    assert variant.command == ("demo", "--bind={host}:{port}", "{app}")
    assert variant.supports == {"close", "keep-alive"}
    assert (variant.interface, variant.tuned, variant.stop, variant.needs) == ("wsgi", False, "INT", ("cc",))
    assert (variant.environment, variant.color) == ({"DEMO": "1"}, "#1f77b4")
    assert variant.files == {"demo.conf": "threads {threads}; events { workers {workers}; }"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("stop =", "stopp =", 'variants.default.stopp: unknown key (did you mean "stop"?); allowed: class,'),
        ("homepage =", "home =", "homepage: is missing; it must be a string"),
        ('"wsgi"', '"wsg"', '"wsg" is not allowed (did you mean "wsgi"?); allowed: wsgi, asgi'),
        ('"wsgi"', "3", "variants.default.interface: must be a string, not 3"),
        ('"keep-alive"]', '"keepalive"]', '"keepalive" is not allowed (did you mean "keep-alive"?)'),
        ('["close", "keep-alive"]', "[]", "variants.default.supports: must name at least one of close,"),
        ('"keep-alive"]', '"websocket"]', '"websocket" needs interface = "asgi"'),
        ("{port}", "{prot}", 'unknown placeholder "{prot}" (did you mean "{port}"?)'),
        ("{port}", "{port", "has a brace that belongs to no placeholder"),
        ('["demo", "--bind={host}:{port}", "{app}"]', "[]", "command: must name the program to start"),
        ('["demo", "--bind={host}:{port}", "{app}"]', '["demo", 8]', "every item must be a string, not 8"),
        ('class = "default"', 'class = "tuned"', "variants.default.why: is missing"),
        ('class = "default"', 'class = "default"\nwhy = "x"', 'why: belongs to class = "tuned" only'),
        ('"INT"', '"STOP"', 'stop: "STOP" is not allowed'),
        ("#1f77b4", "blue", 'plot.color: "blue" is not a colour'),
        ("DEMO =", '"DE MO" =', '"DE MO" cannot be the name of an environment variable'),
        ('DEMO = "1"', "DEMO = 1", "environment.DEMO: must be a string, not 1"),
        ('"demo.conf"', '"../demo.conf"', 'files.../demo.conf: "../demo.conf" is not a plain file name'),
        (
            '"demo.conf"',
            '"conf/demo.conf"',
            'files.conf/demo.conf: "conf/demo.conf" is not a plain file name',
        ),
        ('"demo.conf"', '".."', 'files...: ".." is not a plain file name'),
        ('"demo.conf"', '""', 'files.: "" is not a plain file name'),
        ('"threads {threads};', '8 # "', "variants.default.files.demo.conf: must be a string, not 8"),
        ('"threads {threads};', '"" # "', "variants.default.files.demo.conf: must not be empty"),
        (
            "{threads}",
            "{thread}",
            'files.demo.conf: unknown placeholder "{thread}" (did you mean "{threads}"?)',
        ),
        (
            "variants.default",
            "variants.Big-One",
            'variants.Big-One: "Big-One" is no variant\'s name',
        ),
        ("[remedies]", "[[remedies]]", "remedies: must be a table"),
        (
            "[variants.default.environment]",
            '[variants.default.expects]\nloop = "uvlop"\n[variants.default.environment]',
            'variants.default.expects.loop: "uvlop" is not allowed (did you mean "uvloop"?); allowed: ',
        ),
        (
            "[variants.default.environment]",
            '[variants.default.expects]\nhttp = "httptool"\n[variants.default.environment]',
            'variants.default.expects.http: "httptool" is not allowed (did you mean "httptools"?)',
        ),
        (
            "[variants.default.environment]",
            '[variants.default.expects]\nloop = "uvloop"\n[variants.default.environment]',
            'variants.default.expects.loop: needs interface = "asgi": no event loop calls a WSGI application',
        ),
        (
            "[variants.default.environment]",
            '[variants.default.expects]\nlop = "uvloop"\n[variants.default.environment]',
            'variants.default.expects.lop: unknown key (did you mean "loop"?)',
        ),
        (
            'stop = "INT"',
            'stop = "INT"\nrequirements = "../other.txt"',
            'variants.default.requirements: "../other.txt" is no file of this folder such as',
        ),
        ('stop = "INT"', 'stop = "INT"\nselected = "no"', "variants.default.selected: must be true or false"),
        ("homepage = ", "homepage ", "is not TOML"),
    ],
)
def test_a_bad_server_file_names_the_key_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    problems = server_problems(tmp_path, old, new)
    assert any(expected in problem for problem in problems), problems
    assert all(str(tmp_path / "demo" / "server.toml") in problem for problem in problems)


def test_a_variant_says_what_it_expects_and_has_requirements_of_its_own(tmp_path: Path) -> None:
    text = SERVER.replace('"wsgi"', '"asgi"').replace(
        'stop = "INT"',
        'stop = "INT"\nselected = false\nrequirements = "requirements-uvloop.txt"\n'
        'expects = { loop = "uvloop", http = "own" }',
    )
    folder = write_server(tmp_path, text)
    (folder / "requirements-uvloop.txt").write_text("demo\n")
    server = parse_server(folder)
    (variant,) = server.variants
    assert variant.expects == Expects("uvloop", "own", "")
    assert not variant.selected
    subject = Subject(server, variant, Application("plain", folder, folder, None, "plain.asgi:app"))
    assert (subject.environment, server.pinned, subject.installed.pinned) == ("demo-uvloop", True, False)
    assert subject.installed.requirements == folder / "requirements-uvloop.txt"


def test_requirements_of_a_variant_that_are_not_there_are_named(tmp_path: Path) -> None:
    new = 'stop = "INT"\nrequirements = "requirements-uvloop.txt"'
    (problem,) = server_problems(tmp_path, 'stop = "INT"', new)
    assert problem.startswith(f"{tmp_path / 'demo' / 'requirements-uvloop.txt'}: is missing or is not text")


def test_a_placeholder_suggestion_shows_braces_once(tmp_path: Path) -> None:
    (problem,) = server_problems(tmp_path, "{port}", "{prot}")
    assert problem.count("{port}") == 2  # the suggestion and the list


@pytest.mark.parametrize(
    "text",
    [
        "events { worker_connections 1024; }",
        "events {}",
        "events {\\n}",
        "http {server { return 200; }}",
        "path ${HOME};",
        "LogFormat %{Referer}i",
    ],
)
def test_braces_that_are_a_configuration_files_own_are_no_placeholders(tmp_path: Path, text: str) -> None:
    folder = write_server(tmp_path, SERVER.replace("threads {threads};", text))
    (variant,) = parse_server(folder).variants
    assert variant.files["demo.conf"].startswith(text.replace("\\n", "\n"))


def test_a_variant_needs_no_files(tmp_path: Path) -> None:
    (variant,) = parse_server(
        write_server(tmp_path, SERVER[: SERVER.index("[variants.default.files]")])
    ).variants
    assert variant.files == {}


def test_a_placeholder_misspelt_twice_in_a_file_is_one_problem(tmp_path: Path) -> None:
    (problem,) = server_problems(tmp_path, "{threads}", "{thread} {thread}")
    assert problem.count('unknown placeholder "{thread}"') == 1


def test_every_problem_of_a_folder_is_reported_at_once(tmp_path: Path) -> None:
    folder = write_server(tmp_path, SERVER.replace("stop =", "stopp =").replace("{port}", "{prot}"))
    (folder / "requirements.txt").unlink()
    with pytest.raises(ConfigurationError) as caught:
        parse_server(folder)
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3
    assert "stopp" in text
    assert "{prot}" in text
    assert "requirements.txt: is missing" in text


def test_a_server_without_variants_is_refused(tmp_path: Path) -> None:
    folder = write_server(tmp_path, 'homepage = "x"\n[variants]\n')
    with pytest.raises(ConfigurationError, match="has no variant"):
        parse_server(folder)


def test_a_folder_name_that_cannot_be_an_id_is_refused(tmp_path: Path) -> None:
    folder = write_server(tmp_path).rename(tmp_path / "Demo-1")
    with pytest.raises(ConfigurationError, match='"Demo-1" is the ID'):
        parse_server(folder)


@pytest.mark.parametrize(
    "requirements", ["demo\n", "demo==1.0\n", f"demo>=1.0 {HASH}\n", f"demo==1.* {HASH}\n"]
)
def test_a_shipped_server_must_be_pinned_and_hashed(tmp_path: Path, requirements: str) -> None:
    folder = write_server(tmp_path, requirements=requirements)
    with pytest.raises(ConfigurationError, match="must be pinned with == and hashed"):
        parse_server(folder, shipped=True)


def test_a_users_server_may_be_looser_and_is_marked_so(tmp_path: Path) -> None:
    assert parse_server(write_server(tmp_path, requirements="demo>=1.0\n-e ../mine\n")).pinned is False


def test_a_shipped_server_names_no_package_index(tmp_path: Path) -> None:
    folder = write_server(tmp_path, requirements=f"--index-url https://example.org/simple\n{REQUIREMENTS}")
    with pytest.raises(ConfigurationError, match="names a package index"):
        parse_server(folder, shipped=True)


@pytest.mark.parametrize(
    ("line", "expected"), [("-r other.txt", "other files are not followed"), ("./mine", "write -e ./mine")]
)
def test_requirements_that_depend_on_more_than_their_file_are_refused(
    tmp_path: Path, line: str, expected: str
) -> None:
    folder = write_server(tmp_path, requirements=f"{line}\n")
    with pytest.raises(ConfigurationError, match=expected):
        parse_server(folder)


def test_a_shipped_servers_requirements_without_a_requirement_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="lists no requirement"):
        parse_server(write_server(tmp_path, requirements="# nothing\n"), shipped=True)


def test_a_users_own_server_may_need_nothing_but_python(tmp_path: Path) -> None:
    assert parse_server(write_server(tmp_path, requirements="# nothing\n")).pinned


def test_a_workload_folder_is_read_in_full(tmp_path: Path) -> None:
    workload = parse_workload(write_workload(tmp_path))
    assert (workload.name, workload.transport, workload.request.path) == (
        "short-answers",
        "close",
        "/plaintext",
    )
    assert workload.levels == (Level(16), Level(64))
    assert (workload.slice_s, workload.warmup_s, workload.service_s) == (0.1, 1.0, 0.0)
    assert workload.profiles == {"smoke", "full"}
    assert workload.saturates
    assert workload.share == 1


def test_a_workload_needs_its_transport_without_saying_so(tmp_path: Path) -> None:
    assert parse_workload(write_workload(tmp_path)).needs == {"close"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"close"', '"closed"', 'transport: "closed" is not allowed (did you mean "close"?)'),
        ('"100ms"', '"100"', 'slice: "100" is not a time such as "100ms"'),
        ('"100ms"', "100", "slice: must be a string, not 100"),
        ('"100ms"', '"0ms"', "slice: must be longer than 0"),
        ('"smoke"', '"smok"', 'profiles: "smok" is not allowed (did you mean "smoke"?)'),
        ('["smoke", "full"]', "[]", "profiles: must name at least one of smoke, standard, full"),
        ("[16, 64]", "[0]", "load.connections: 0 is under 1"),
        ("[16, 64]", "[true]", "load.connections: every item must be a whole number, not True"),
        ("[16, 64]", "[]", "load.connections: must name at least one"),
        ("[16, 64]", "[64, 64]", "load.connections: names a number twice"),
        ('"closed"', '"opened"', 'load.model: "opened" is not allowed (did you mean "open"?)'),
        ('"/plaintext"', '"plaintext"', 'request.path: "plaintext" must start with /'),
        ("[request]", '[request]\nbody = "x"', 'request.body: needs method = "POST"'),
        ("[request]", "[request]\nmessage_bytes = 8", 'request.message_bytes: needs transport = "websocket"'),
        ("[request]", "share = 0\n[request]", "share: 0 is not positive"),
        ("[request]", 'saturates = "no"\n[request]', "saturates: must be true or false, not 'no'"),
        ("[request]", 'service = "10ms"\n[request]', "slice: 0.1s is under 20 service times (0.2s)"),
        ("[request]", "[reqest]", 'reqest: unknown key (did you mean "request"?)'),
        ("[request]", "[requests]", "requests: must be a list"),
    ],
)
def test_a_bad_workload_file_names_the_key_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    problems = workload_problems(tmp_path, old, new)
    assert any(expected in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("text", "expected"), [("250us", 0.00025), ("100ms", 0.1), ("1.5s", 1.5), ("10m", 600.0)]
)
def test_a_time_is_read_with_its_unit(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "10", "ms", "-1s", "1 s", "1h", "nans"])
def test_a_time_without_a_number_and_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        seconds(text)


def test_an_application_has_the_forms_whose_files_are_there(tmp_path: Path) -> None:
    folder = tmp_path / "apps" / "mine"
    folder.mkdir(parents=True)
    (folder / "wsgi.py").touch()
    application = parse_application(folder, tmp_path)
    assert (application.wsgi, application.asgi) == ("apps.mine.wsgi:app", None)
    assert parse_application(folder, tmp_path / "apps").wsgi == "mine.wsgi:app"


def test_a_folder_without_a_form_is_no_application(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(ConfigurationError, match=r"must have wsgi\.py or asgi\.py"):
        parse_application(folder, tmp_path)


@pytest.mark.parametrize("name", ["json", "class"])
def test_an_application_with_a_name_of_pythons_own_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "wsgi.py").touch()
    with pytest.raises(ConfigurationError, match="taken by Python itself"):
        parse_application(folder, tmp_path)
