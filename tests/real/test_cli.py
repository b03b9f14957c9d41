"""The command as a person meets it: exit statuses, messages, and that a refused one starts nothing."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from gatebench.machine.kernel import fresh_port
from gatebench.words.paths import HOST
from gatebench.words.text import counted
from tests.support.lab import OWN_FOLDERS, Command, Ended, fetch, gatebench


def refused(folder: Path, *arguments: str, cores: set[int] | None = None) -> str:
    """What a `run` says that must be refused before anything is started or made."""
    out = folder / "run"
    ended = gatebench(folder, "run", "--out", str(out), *OWN_FOLDERS, *arguments, cores=cores)
    assert ended.status == 2, ended.said
    assert "Traceback" not in ended.said
    assert "installing" not in ended.said
    assert not out.exists()
    return ended.said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--servers", "honest-wsgy"], 'unknown server "honest-wsgy" (did you mean "honest-wsgi"?)'),
        (["--workloads", "keep-alvie"], 'unknown workload "keep-alvie" (did you mean "keep-alive"?)'),
        (["--apps", "plian"], 'unknown application "plian" (did you mean "plain"?)'),
        (["--profile", "standart"], 'unknown profile "standart" (did you mean "standard"?)'),
        (["--runner", "proces"], 'unknown runner "proces" (did you mean "process"?)'),
        (["--budget", "soon"], '--budget: "soon" is not a time such as'),
        (["--budget", "0s"], '--budget: "0s" leaves no time to measure'),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    assert expected in refused(tmp_path, *arguments)


def test_claims_about_what_does_not_exist_are_refused_with_every_other_problem(tmp_path: Path) -> None:
    file = tmp_path / "claims.toml"
    file.write_text(
        'schema = 1\n[claims.faster]\ntext = "Faster."\nsource = "a post"\n[claims.faster.conditions.a]\n'
        'kind = "ratio"\nleft = "honest-wsgy"\nright = "gunicorn"\nworkload = "keep-alive"\n'
        'level = "c512"\nat_least = 3\n'
    )
    said = " ".join(refused(tmp_path, "--claims", str(file), "--budget", "soon").split())
    where = f"{file}: claims.faster.conditions.a"
    assert f'{where}.left: unknown subject "honest-wsgy" (did you mean "honest-wsgi"?)' in said
    assert f'{where}.right: "gunicorn" is no subject but has several: ' in said
    assert f'{where}.level: keep-alive has no level "c512"; it has c64' in said
    assert '--budget: "soon" is not a time' in said


def test_a_workload_that_asks_what_the_contract_does_not_answer_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "workloads" / "own-path"
    folder.mkdir(parents=True)
    (folder / "workload.toml").write_text(
        'description = "A route of my own"\ntransport = "keep-alive"\nslice = "100ms"\nwarmup = "100ms"\n'
        'profiles = ["full"]\n[request]\npath = "/api/items"\n[load]\nmodel = "closed"\nconnections = [8]\n'
    )
    said = refused(tmp_path, "--workloads-dir", str(folder.parent), "--workloads", "own-path")
    assert f'{folder / "workload.toml"}: request.path: "/api/items" is no route of the contract' in said


def test_every_unknown_name_of_an_option_is_told_at_once(tmp_path: Path) -> None:
    said = refused(tmp_path, "--servers", "honest-wsgy nobody", "--workloads", "nope", "--profile", "fast")
    assert "4 problems found; nothing was done:" in said
    assert 'unknown workload "nope"' in said
    assert 'unknown profile "fast"' in said
    assert 'unknown server "honest-wsgy"' in said
    assert 'unknown server "nobody"' in said


def test_a_server_an_application_and_a_workload_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "apps" / "modern").mkdir(parents=True)
    (tmp_path / "apps" / "modern" / "asgi.py").touch()
    apps = ("--apps-dir", str(tmp_path / "apps"), "--apps", "plain modern")
    said = refused(tmp_path, *apps, "--servers", "honest-wsgi", "--workloads", "steady-close")
    assert 'application "modern": no chosen server can run it' in said
    said = refused(tmp_path, "--servers", "honest-wsgi", "--workloads", "steady-close steady-websocket")
    assert 'workload "steady-websocket": no chosen subject can take part' in said


def test_a_run_says_what_it_leaves_out_of_what_was_named(tmp_path: Path) -> None:
    folder = tmp_path / "apps" / "modern"
    folder.mkdir(parents=True)
    (folder / "asgi.py").touch()
    named = ("--apps-dir", str(tmp_path / "apps"), "--apps", "plain modern", "--servers", "honest")
    # Refused for its folder, right after the line: what follows would take long and say no more.
    ended = gatebench(tmp_path, "run", *OWN_FOLDERS, *named, "--out", str(tmp_path))
    assert ended.status == 2
    assert f"not measured: honest-wsgi+modern, because {folder} has no WSGI form" in ended.said


def test_numbers_that_cannot_be_are_told_at_once_by_their_options(tmp_path: Path) -> None:
    numbers = ("--server-cores", "0", "--workers", "0", "--threads", "-1", "--engines", "0")
    said = refused(tmp_path, *numbers, "--profile", "fast")
    assert "5 problems found; nothing was done:" in said
    for option, number in zip(numbers[::2], numbers[1::2], strict=True):
        assert f"{option}: {number} is under 1" in said


SHOP = (
    "from locust import HttpUser, events, task\n\n\n"
    "@events.init_command_line_parser.add_listener\n"
    'def _(parser):\n    parser.add_argument("--page", type=int, default=1)\n\n\n'
    "print('a file may print')\n\n\n"
    "class Shopper(HttpUser):\n    @task\n    def buy(self):\n        pass\n"
)


def shop(tmp_path: Path, text: str, name: str = "shop") -> tuple[str, ...]:
    """The options that choose a workload of such a Locust file."""
    folder = tmp_path / "workloads" / name
    folder.mkdir(parents=True)
    (folder / "workload.toml").write_text(
        'description = "Its own option"\ntransport = "keep-alive"\nslice = "1s"\nwarmup = "1s"\n'
        'profiles = ["full"]\n\n[load]\nmodel = "locust"\nusers = [4]\n'
    )
    (folder / "locustfile.py").write_text(text)
    return "--workloads-dir", str(tmp_path / "workloads"), "--workloads", name


def test_an_option_that_no_locust_file_defines_is_refused_with_the_near_one(tmp_path: Path) -> None:
    chosen = shop(tmp_path, SHOP)
    said = refused(tmp_path, *chosen, "--locust-option", "pgae=/", "--locust-option", "page")
    assert "no chosen Locust file has an option 'pgae' (did you mean \"page\"?)" in said
    assert "'page' is not NAME=VALUE" in said
    said = refused(tmp_path, "--workloads", "keep-alive", "--locust-option", "page=/")
    assert "no chosen workload has a Locust file" in said


@pytest.mark.parametrize(
    ("text", "given", "complaint"),
    [
        (SHOP, ("page=first",), "argument --page: invalid int value: 'first'"),
        (SHOP.replace("@task", "@tusk"), (), "NameError: name 'tusk' is not defined"),
        (SHOP.replace("    @task\n", ""), (), "Shopper has no task"),
        (SHOP.replace("    @task", "    fixed_count = 3\n    @task"), (), "fixed_count allows 3 (Shopper 3)"),
        (SHOP, ("tags=reed",), "the tags leave no task of Shopper; no task of the file has a tag"),
        (
            SHOP.replace("import ", "import tag, ", 1).replace("    @task", '    @tag("read")\n    @task'),
            ("tags=reed",),
            "the tags leave no task of Shopper; the file's tags are read",
        ),
        ("import sys\nsys.exit(3)\n", (), "SystemExit: 3; the file must load on its own"),
        ("import os\nos._exit(3)\n", (), "the process that reads it ended"),
    ],
)
def test_what_is_wrong_with_a_locust_file_is_told_before_anything_starts(
    tmp_path: Path, text: str, given: tuple[str, ...], complaint: str
) -> None:
    options = [word for each in given for word in ("--locust-option", each)]
    said = refused(tmp_path, *shop(tmp_path, text), *options)
    assert complaint in said
    assert "1 problem found; nothing was done" in said


def test_the_faults_of_several_locust_files_are_told_at_once(tmp_path: Path) -> None:
    shop(tmp_path, SHOP.replace("    @task\n", ""))
    chosen = shop(tmp_path, SHOP.replace("HttpUser", "User"), "till")
    said = refused(tmp_path, *chosen[:-1], "shop till")
    assert "Shopper has no task" in said
    assert "neither a FastHttpUser nor an HttpUser" in said


def test_more_server_cores_than_there_are_are_refused(tmp_path: Path) -> None:
    count = len(os.sched_getaffinity(0))
    said = refused(tmp_path, "--servers", "honest", "--workers", "1", "--server-cores", str(count))
    assert f"{counted(count, 'core')} available, {count + 1} needed ({count} for the servers" in said


def test_a_broken_server_folder_is_refused_with_every_problem_and_where_it_is(tmp_path: Path) -> None:
    broken = tmp_path / "servers" / "broken"
    broken.mkdir(parents=True)
    (broken / "server.toml").write_text(
        'homepage = "https://example.org/"\n'
        "[variants.default]\n"
        'interface = "wsgj"\n'
        'command = ["serve", "{prot}"]\n'
        'supports = ["close", "keepalive"]\n'
        "colour = 3\n"
    )
    said = refused(tmp_path, "--servers-dir", str(tmp_path / "servers"))
    assert "5 problems found; nothing was done:" in said
    file = broken / "server.toml"
    for key in ("interface", "command", "supports", "colour"):
        assert f"{file}: variants.default.{key}" in said
    assert str(broken / "requirements.txt") in said
    assert 'did you mean "{port}"?' in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_results_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    ended = short_run(tmp_path, closed / "run")
    assert ended.status == 2
    assert f"cannot write results to {closed / 'run'}" in ended.said


def short_run(folder: Path, out: Path) -> Ended:
    arguments = ("--profile", "smoke", "--servers", "honest-asgi", "--workloads", "steady-close")
    return gatebench(folder, "run", *OWN_FOLDERS, *arguments, "--out", str(out))


def test_a_results_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    ended = short_run(tmp_path, tmp_path / "file" / "run")
    assert ended.status == 2, ended.said
    assert f"cannot write results to {tmp_path / 'file' / 'run'}" in ended.said


def test_a_results_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "precious.txt").write_text("kept")
    ended = short_run(tmp_path, out)
    assert ended.status == 2, ended.said
    assert f"{out} is not empty" in ended.said
    assert [file.name for file in out.iterdir()] == ["precious.txt"]


def test_on_a_single_core_a_comparison_is_refused_with_the_reason(tmp_path: Path) -> None:
    said = refused(tmp_path, "--servers", "honest", cores={min(os.sched_getaffinity(0))})
    assert "1 core available, 2 needed" in said
    assert "the load generator takes time from the server" in said


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    assert "--serves" in refused(tmp_path, "--serves", "honest")


def test_a_report_of_a_folder_that_holds_no_run_fails_without_a_traceback(tmp_path: Path) -> None:
    ended = gatebench(tmp_path, "report", str(tmp_path / "nothing"))
    assert ended.status in {1, 2}
    assert str(tmp_path / "nothing") in ended.said
    assert "Traceback" not in ended.said


def test_verify_passes_honest_servers_and_lists_what_others_do_wrong(tmp_path: Path) -> None:
    folders = OWN_FOLDERS[:2]
    assert gatebench(tmp_path, "verify", *folders, "--servers", "honest").status == 0
    ended = gatebench(tmp_path, "verify", *folders, "--servers", "honest-asgi faulty-wrong-routes")
    assert ended.status == 1
    assert "holds" in ended.said
    assert "/json" in ended.said
    assert "/cpu/10" in ended.said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_answers_until_it_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    port = fresh_port(HOST, set())
    command = Command(tmp_path, "serve", "honest-wsgi", "--port", str(port), *OWN_FOLDERS[:2])
    command.wait_until("it says that it answers", lambda: f"answers at http://{HOST}:{port}" in command.said)
    assert fetch(port, "/plaintext") == b"Hello, World!"
    command.send(number)
    ended = command.end()
    assert ended.status == 130, ended.said
    assert "Traceback" not in ended.said


def test_serve_on_a_busy_port_says_so_and_fails(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        ended = gatebench(tmp_path, "serve", "honest-wsgi", "--port", str(port), *OWN_FOLDERS[:2])
    assert ended.status == 1
    assert f"port {port} is in use; choose another one (--port)" in ended.said
    assert "Traceback" not in ended.said


def test_serve_of_a_server_that_ends_by_itself_shows_its_last_words(tmp_path: Path) -> None:
    port = fresh_port(HOST, set())
    ended = gatebench(tmp_path, "serve", "faulty-exits", "--port", str(port), *OWN_FOLDERS[:2])
    assert ended.status == 1
    assert "cannot begin: no luck today" in ended.said


def test_serve_wants_exactly_one_subject(tmp_path: Path) -> None:
    ended = gatebench(tmp_path, "serve", "honest", *OWN_FOLDERS[:2])
    assert ended.status == 2
    assert '"honest" matches 2 subjects; name one of honest-wsgi, honest-asgi' in ended.said


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
