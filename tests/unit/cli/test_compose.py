"""Containers become the text of a Compose file: strings mean themselves, every service is hardened."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # the tests alone read YAML, and need no types for it
from hypothesis import example, given
from hypothesis import strategies as st

from gatebench.cli.compose import FILE, MOST_SUBJECTS, for_people, text, write
from gatebench.registry.registry import Registry, load_registry
from gatebench.runners.docker.services import (
    Build,
    Interpolated,
    Project,
    Service,
    render,
    server_service,
    service_name,
)
from gatebench.words.commands import fill, fill_table
from gatebench.words.model import Application, Subject
from gatebench.words.options import Budget
from gatebench.words.paths import ROOT
from tests.support.folders import add_application, add_server
from tests.support.strings import NASTY

REGISTRY = load_registry(ROOT)
SUBJECTS = {subject.id: subject for subject in REGISTRY.subjects()}
HARDENING = {
    "user": "10001:10001",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "mem_limit": "1024m",
    "memswap_limit": "1024m",
    "pids_limit": 1024,
    "tmpfs": ["/scratch:uid=10001,gid=10001,mode=0755,size=128m,exec", "/tmp:mode=1777,size=64m"],  # noqa: S108 - theirs
    "init": True,
    "restart": "no",
    "logging": {"driver": "local", "options": {"mode": "non-blocking", "max-size": "5m", "max-file": "2"}},
}
HARMLESS = {"pull_policy", "build", "command", "environment", "cpuset", "stop_signal", "profiles"}
HARMLESS |= {"stop_grace_period", "labels", "network_mode"}


def project(*services: Service, **changes: Any) -> Project:
    return Project(**{"name": "demo", "services": services, "owner": "me", **changes})


def parsed(text_: str) -> dict[str, Any]:
    content = yaml.safe_load(text_)
    assert isinstance(content, dict)
    return content


def services_of(whole: Project) -> dict[str, dict[str, Any]]:
    return dict(parsed(render(whole))["services"])


def as_compose_reads(value: str) -> str:
    """What Compose makes of text without variables; a lone dollar sign would be one."""
    assert "$" not in value.replace("$$", "")
    return value.replace("$$", "$")


def by_default(value: str) -> str:
    """What Compose makes of text with variables, none of which is set."""
    value = re.sub(r"(?<!\$)\$\{PORTS:-(\d+)\}", r"\1", value)
    return re.sub(r"(?<!\$)\$\{[A-Z_]+:-([^}]*)\}", r"\1", value).replace("$$", "$")


def with_nasty_examples(test: Any) -> Any:
    for word in NASTY:
        test = example(word)(test)
    return test


@with_nasty_examples
@given(st.text())
def test_any_string_means_itself(word: str) -> None:
    service = Service("one", word, (word, "x", word), {"NAME": word}, cpuset=word, stop_signal=word)
    got = services_of(project(replace(service, build=Build(word, word, {"SERVER": word}))))["one"]
    assert list(map(as_compose_reads, got["command"])) == [word, "x", word]
    found = [
        got.get("image", ""),
        got["environment"]["NAME"],
        got.get("cpuset", ""),
        got.get("stop_signal", ""),
    ]
    found += [got["build"]["context"], got["build"]["dockerfile"], got["build"]["args"]["SERVER"]]
    assert set(map(as_compose_reads, found)) == {word}


@with_nasty_examples
@given(st.text())
def test_nothing_gets_out_of_a_comment(line: str) -> None:
    plain = project(Service("one", "image", ("run",)))
    commented = project(Service("one", "image", ("run",), comment=line))
    assert parsed(render(commented)) == parsed(render(plain))


@given(st.lists(st.text(max_size=60), min_size=1, max_size=30))
def test_a_long_command_keeps_its_words_and_their_order(words: list[str]) -> None:
    got = services_of(project(Service("one", "image", tuple(words))))["one"]["command"]
    assert list(map(as_compose_reads, got)) == words


def test_ordinary_words_stay_readable() -> None:
    text_ = render(project(Service("one", "gatebench/one", ("uvicorn", "--workers", "1", "--flag"))))
    assert 'command: [uvicorn, --workers, "1", --flag]' in text_
    assert "image: gatebench/one\n" in text_


def test_variables_of_compose_are_left_to_compose_where_that_is_wanted() -> None:
    service = Service("one", "image", (Interpolated("$$1 costs ${PRICE:-1}"), "$1 costs ${PRICE:-1}"))
    assert services_of(project(service))["one"]["command"] == [
        "$$1 costs ${PRICE:-1}",
        "$$1 costs $${PRICE:-1}",
    ]


def test_an_application_behind_a_plus_sign_gets_a_name_that_compose_allows() -> None:
    assert service_name("uvicorn-h11+flask") == "uvicorn-h11__flask"
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]+", service_name(subject)) for subject in SUBJECTS)


@pytest.mark.parametrize("name", sorted(parsed(text(REGISTRY))["services"]))
def test_every_service_is_hardened(name: str) -> None:
    service = parsed(text(REGISTRY))["services"][name]
    assert {key: service.get(key) for key in HARDENING} == HARDENING
    assert (service["network_mode"], service["labels"]) == ("host", {"gatebench": "people"})
    assert set(service) <= HARMLESS | set(HARDENING)


def test_no_service_is_given_a_port_a_socket_or_a_folder() -> None:
    text_ = text(REGISTRY)
    assert not re.search(r"\b(ports|expose|docker\.sock|volumes|privileged|cap_add|container_name)\b", text_)


def test_a_load_generator_can_be_talked_to_is_not_logged_and_is_hardened_nevertheless() -> None:
    volume = "/sys/fs/cgroup:/cgroup:ro"
    got = services_of(project(Service("loadgen", "image", ("run",), interactive=True, volumes=(volume,))))
    assert got["loadgen"]["stdin_open"] is True
    assert got["loadgen"]["volumes"] == [volume]
    expected = {**HARDENING, "logging": {"driver": "none"}}
    assert {key: got["loadgen"].get(key) for key in expected} == expected


def test_a_service_can_have_less_memory_and_no_swap() -> None:
    got = services_of(project(Service("one", "image", ("run",), memory_mib=64), Service("two", "image", ())))
    assert (got["one"]["mem_limit"], got["one"]["memswap_limit"]) == ("64m", "64m")
    assert got["two"]["mem_limit"] == "1024m"


def test_services_on_a_bridge_share_one_network_without_a_way_out() -> None:
    both = (Service("one", "image", ("run",)), Service("two", "image", ("run",)))
    whole = parsed(render(project(*both, network="bridge", network_name="net", creates_network=True)))
    assert whole["networks"] == {"lab": {"name": "net", "internal": True, "labels": {"gatebench": "me"}}}
    assert [service["networks"] for service in whole["services"].values()] == [["lab"], ["lab"]]
    assert not any("network_mode" in service for service in whole["services"].values())


def test_a_network_that_is_there_is_neither_made_nor_removed() -> None:
    whole = parsed(render(project(Service("one", "image", ("run",)), network="bridge", network_name="net")))
    assert whole["networks"] == {"lab": {"name": "net", "external": True}}


def test_an_image_is_built_here_or_was_and_never_fetched() -> None:
    got = services_of(
        project(Service("one", "image", (), build=Build(".", "Dockerfile")), Service("two", "image", ()))
    )
    assert (got["one"]["pull_policy"], got["two"]["pull_policy"]) == ("build", "never")


def test_the_order_in_which_services_come_does_not_matter() -> None:
    services = tuple(Service(name, "image", ("run",), {"B": "1", "A": "2"}) for name in "cab")
    turned = tuple(replace(each, environment={"A": "2", "B": "1"}) for each in reversed(services))
    assert render(project(*services)) == render(project(*turned))
    assert list(services_of(project(*services))) == ["a", "b", "c"]


def test_the_file_in_the_repository_is_what_the_server_folders_say() -> None:
    current = (ROOT / FILE).read_text(encoding="utf-8")
    assert current == text(REGISTRY), f"{FILE} is not what servers/ says; run: make compose"


def test_every_subject_has_a_service() -> None:
    assert set(parsed(text(REGISTRY))["services"]) == {*map(service_name, SUBJECTS), "loadgen", "worker"}


def test_every_subject_has_a_port_of_its_own_which_its_comment_names() -> None:
    services = {each.name: each for each in for_people(REGISTRY).services}
    ports = set()
    for subject in SUBJECTS:
        service = services[service_name(subject)]
        found = re.match(r"http://127\.0\.0\.1:(\d+) ", service.comment)
        assert found is not None
        said = " ".join((*service.command, *service.environment.values()))
        assert re.findall(r"\$\{PORTS:-80\}\d\d", said) == [f"${{PORTS:-80}}{found[1][-2:]}"]
        ports.add(int(found[1]))
    assert ports == set(range(8001, 8001 + len(SUBJECTS)))


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=lambda subject: subject.id)
def test_the_command_of_a_service_is_that_of_its_variant(subject: Subject) -> None:
    service = next(each for each in for_people(REGISTRY).services if each.name == service_name(subject.id))
    got = parsed(text(REGISTRY))["services"][service.name]
    values = {
        "app": subject.application.form(subject.variant.interface) or "",
        "app_file": f"/srv/apps/plain/{subject.variant.interface}.py",
        "host": "127.0.0.1",
        "port": service.comment.split()[0][-4:],
        "workers": "1",
        "threads": "4",
        "work": "/scratch",
    }
    command = tuple(map(by_default, got["command"]))
    variables = {name: by_default(value) for name, value in got["environment"].items()}
    expected = fill(subject.variant.command, values)
    if subject.variant.files:
        expected = ("python", "/srv/servers/launch.py", *expected)
        assert json.loads(variables.pop("GATEBENCH_FILES")) == fill_table(subject.variant.files, values)
    assert command == expected
    assert variables == {"PYTHONPATH": "/srv", **subject.variant.environment}
    assert got["stop_signal"] == f"SIG{subject.variant.stop}"


def test_what_the_services_name_is_in_the_repository() -> None:
    for service in parsed(text(REGISTRY))["services"].values():
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        for path in re.findall(r"/srv/([^ ]+\.py)", " ".join(service["command"])):
            assert (ROOT / path).is_file()
        server = service["build"].get("args", {}).get("SERVER")
        assert server is None or (ROOT / "servers" / server / "requirements.txt").is_file()


def test_files_of_a_variant_come_to_the_launcher_filled_and_as_they_are() -> None:
    subject = next(iter(SUBJECTS.values()))
    odd = {"a.conf": "listen {host}:{port}; set $x \"${y}\"; '\\' {\n}\n", "b": "ünï"}
    subject = replace(subject, variant=replace(subject.variant, command=("run", "$1", "{work}"), files=odd))
    service = server_service(
        subject, image="image", host="one", port="80", budget=Budget((1, 3)), environment={"MORE": "a$b"}
    )
    got = services_of(project(service))[service.name]
    assert list(map(as_compose_reads, got["command"])) == [
        *("python", "/srv/servers/launch.py"),
        *("run", "$1", "/scratch"),
    ]
    assert json.loads(as_compose_reads(got["environment"]["GATEBENCH_FILES"])) == {
        "a.conf": "listen one:80; set $x \"${y}\"; '\\' {\n}\n",
        "b": "ünï",
    }
    assert as_compose_reads(got["environment"]["MORE"]) == "a$b"
    assert got["cpuset"] == "1,3"


def test_the_limits_of_a_server_grow_with_its_worker_processes() -> None:
    subject = next(iter(SUBJECTS.values()))
    limits = []
    for workers in (1, 2):
        service = server_service(
            subject, image="image", host="one", port="80", budget=Budget((1, 3), workers)
        )
        got = services_of(project(service))[service.name]
        limits.append((got["mem_limit"], got["memswap_limit"], got["pids_limit"]))
    assert limits == [("1024m", "1024m", 1024), ("2048m", "2048m", 2048)]


@pytest.mark.parametrize("name", ["mine", "apps", "servers"])
def test_a_users_own_application_lies_apart_from_those_shipped(name: str, tmp_path: Path) -> None:
    own = Application(name, tmp_path / name, tmp_path, f"{name}.wsgi:app", None)
    subject = next(each for each in SUBJECTS.values() if "{app_file}" in each.variant.command)
    service = server_service(
        replace(subject, application=own), image="image", host="one", port="80", budget=Budget(())
    )
    assert service.command[-1] == f"/srv/own/{name}/wsgi.py"
    assert service.environment["PYTHONPATH"] == "/srv/own:/srv"


def test_the_file_is_written_only_where_it_would_change(tmp_path: Path) -> None:
    add_server(tmp_path / "servers", "demo")
    add_application(tmp_path / "apps", "plain", "wsgi.py", "asgi.py")
    (tmp_path / "loadtests" / "workloads").mkdir(parents=True)
    assert write(tmp_path) is True
    assert "demo" in parsed((tmp_path / FILE).read_text(encoding="utf-8"))["services"]
    assert write(tmp_path) is False
    add_server(tmp_path / "servers", "other")
    assert write(tmp_path) is True


def test_more_subjects_than_ports_are_refused() -> None:
    server = REGISTRY.servers["uvicorn"]
    variants = tuple(replace(server.variants[0], name=f"v{number}") for number in range(MOST_SUBJECTS + 1))
    full = Registry({"uvicorn": replace(server, variants=variants[1:])}, REGISTRY.applications, {})
    assert len(for_people(full).services) == MOST_SUBJECTS + 2
    over = Registry({"uvicorn": replace(server, variants=variants)}, REGISTRY.applications, {})
    with pytest.raises(ValueError, match="89 subjects, and ports for 88 of them"):
        for_people(over)
