"""The images are built for real, and are what the containers' hardening and the measurement need."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import textwrap
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from gatebench.registry.registry import load_registry
from gatebench.registry.servers import parse_application, parse_server
from gatebench.runners.docker.services import python_path
from gatebench.runners.docker.staging import Staged, stage_loadgen, stage_server
from gatebench.words.paths import ROOT

REGISTRY = load_registry(ROOT)
APPLICATIONS = tuple(REGISTRY.applications.values())
SERVERS = tuple(REGISTRY.servers)
LOADGEN = "loadgen"
BUILD_PATIENCE_S = 900.0
RUN_PATIENCE_S = 120.0
MOST_BEYOND_THE_BASE_BYTES = 250_000_000
FIRST_LAYER = "ENV PATH=/opt/"
"""The first instruction of every Dockerfile here; whatever is below it belongs to the base image."""
HARDENED = (
    *("--network", "none", "--user", "10001:10001", "--read-only", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--pids-limit", "1024", "--memory", "1g"),
    *("--tmpfs", "/scratch:uid=10001,gid=10001,mode=0755", "--tmpfs", "/tmp:mode=1777"),  # noqa: S108 - its own
)
PROBE = """
import json, os, pathlib, shutil, sys
compilers = ("cc", "gcc", "g++", "c++", "clang", "tcc", "as", "ld", "make", "apxs")
roots = [pathlib.Path(name) for name in ("/opt", "/srv")]
sources = [path for root in roots for path in root.rglob("*.py")]
def compiled(path):
    return any(path.parent.glob(f"__pycache__/{path.stem}.{sys.implementation.cache_tag}.pyc"))
print(json.dumps({
    "user": [os.getuid(), os.getgid()],
    "folder": os.getcwd(),
    "compilers": [name for name in compilers if shutil.which(name)],
    "uncompiled": [str(path) for path in sources if not compiled(path)],
    "sources": sorted(str(path) for path in sources if path.is_relative_to("/srv")),
    "unreadable": [str(path) for path in sources if not os.access(path, os.R_OK)],
    "writable": [str(path) for path in sources if path.stat().st_uid == os.getuid()],
    "commands": {name: shutil.which(name) for name in sys.argv[1:]},
    "secrets": os.path.exists("/run/secrets"),
}))
"""


@dataclass(frozen=True)
class Workshop:
    """Builds images under tags of its own."""

    folder: Path
    mark: str

    def build(self, name: str, staged: Staged, *options: str) -> str:
        """Builds a context and gives back the image's tag; fails the test with the build's last lines."""
        tag = self.tag(name)
        done = self.try_build(tag, staged, *options)
        assert done.returncode == 0, done.stderr[-3000:]
        return tag

    def tag(self, name: str) -> str:
        return f"gatebench-test-{self.mark}/{name}"

    def try_build(self, tag: str, staged: Staged, *options: str) -> subprocess.CompletedProcess[str]:
        arguments = [f"--build-arg={name}={value}" for name, value in staged.build_args.items()]
        what = ("--file", str(staged.context / staged.dockerfile), str(staged.context))
        return subprocess.run(
            ("docker", "build", "--network=host", "--tag", tag, *arguments, *options, *what),
            env={**os.environ, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"},
            capture_output=True,
            text=True,
            timeout=BUILD_PATIENCE_S,
            check=False,
        )

    def shipped(self, name: str) -> str:
        """The image of a server of the repository, or of the load generator."""
        context = self.folder / name
        shutil.rmtree(context, ignore_errors=True)
        if name == LOADGEN:
            return self.build(name, stage_loadgen((), context))
        return self.build(name, stage_server(REGISTRY.servers[name], APPLICATIONS, context))


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="module")
def workshop(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    made = Workshop(tmp_path_factory.mktemp("contexts"), uuid.uuid4().hex[:8])
    yield made
    for image in engine.images.list():
        for tag in image.tags:
            if tag.startswith(f"gatebench-test-{made.mark}/"):
                engine.images.remove(tag)


@pytest.fixture(scope="module")
def image(workshop: Workshop) -> Callable[[str], str]:
    """The tag of an image of the repository, which is built once for all tests here."""
    built: dict[str, str] = {}

    def of(name: str) -> str:
        if name not in built:
            built[name] = workshop.shipped(name)
        return built[name]

    return of


def run(
    tag: str, *command: str, variables: Mapping[str, str] | None = None, status: int = 0
) -> subprocess.CompletedProcess[str]:
    """Runs a command in a hardened container, which is removed."""
    settings = [f"--env={name}={value}" for name, value in (variables or {}).items()]
    done = subprocess.run(
        ["docker", "run", "--rm", *HARDENED, *settings, tag, *command],
        capture_output=True,
        text=True,
        timeout=RUN_PATIENCE_S,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def probe(tag: str, commands: Sequence[str] = ()) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(tag, "python", "-c", PROBE, *commands).stdout)
    return found


# Every image ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SERVERS, LOADGEN])
def test_an_image_is_small_and_runs_as_an_ordinary_user(
    engine: docker.DockerClient, image: Callable[[str], str], name: str
) -> None:
    built = engine.images.get(image(name))
    layers = built.history()  # the newest first
    ours = next(number for number, layer in enumerate(layers) if FIRST_LAYER in layer["CreatedBy"])
    assert sum(layer["Size"] for layer in layers[: ours + 1]) < MOST_BEYOND_THE_BASE_BYTES
    assert built.attrs["Config"]["User"] == "10001:10001"
    assert not built.attrs["Config"]["Entrypoint"]


@pytest.mark.parametrize("name", [*SERVERS, LOADGEN])
def test_an_image_holds_its_commands_compiled_and_no_compiler(image: Callable[[str], str], name: str) -> None:
    server = REGISTRY.servers.get(name)
    wanted = {variant.command[0] for variant in server.variants} if server else {"locust", "nginx"}
    found = probe(image(name), sorted(wanted))
    assert None not in found["commands"].values()
    assert found["user"] == [10001, 10001]
    assert found["folder"] == "/scratch"
    assert found["compilers"] == []
    assert found["uncompiled"] == []
    assert found["unreadable"] == []
    assert found["writable"] == []
    assert not found["secrets"]


def test_uwsgi_has_nginx_to_stand_behind(image: Callable[[str], str]) -> None:
    assert probe(image("uwsgi"), ["nginx"])["commands"]["nginx"]


def test_the_same_content_gives_the_same_image(
    engine: docker.DockerClient, image: Callable[[str], str], workshop: Workshop
) -> None:
    server = REGISTRY.servers["waitress"]
    first = stage_server(server, APPLICATIONS, workshop.folder / "first")
    for path in first.context.rglob("*"):
        os.utime(path, (0, 0))
    second = stage_server(server, APPLICATIONS, workshop.folder / "second")
    assert first.key == second.key
    tags = (workshop.build("first", first), workshop.build("second", second))
    assert {engine.images.get(tag).id for tag in tags} == {engine.images.get(image("waitress")).id}


def test_the_repository_itself_is_a_context_too(image: Callable[[str], str], workshop: Workshop) -> None:
    staged = Staged(ROOT, "servers/Dockerfile", {"SERVER": "waitress"}, "")
    tag = workshop.build("from-repository", staged)
    assert probe(tag)["sources"] == probe(image("waitress"))["sources"]


# The launcher -----------------------------------------------------------------------------------------------


def test_the_launcher_writes_the_files_and_becomes_the_server(image: Callable[[str], str]) -> None:
    show = "import os; print(open('demo.conf').read(), os.getpid(), 'GATEBENCH_FILES' in os.environ)"
    done = run(
        image("waitress"),
        *("python", "/srv/servers/launch.py", "python", "-c", show),
        variables={"GATEBENCH_FILES": json.dumps({"demo.conf": "port 80 – ü"})},
    )
    assert done.stdout == "port 80 – ü 1 False\n"


@pytest.mark.parametrize(
    "files", ['{"../out": ""}', '{"/etc/passwd": ""}', "[1]", "{", '{"a": 1}', '{"..": ""}']
)
def test_the_launcher_refuses_what_is_no_file_of_its_folder(image: Callable[[str], str], files: str) -> None:
    done = run(
        image("waitress"),
        *("python", "/srv/servers/launch.py", "python", "-c", "print('started')"),
        variables={"GATEBENCH_FILES": files},
        status=1,
    )
    assert done.stdout == ""
    assert done.stderr.startswith("GATEBENCH_FILES: ")


def test_the_launcher_names_a_command_that_is_missing(image: Callable[[str], str]) -> None:
    done = run(image("waitress"), "python", "/srv/servers/launch.py", "no-such-server", status=127)
    assert done.stderr == "no-such-server: No such file or directory\n"


# The load generator -----------------------------------------------------------------------------------------


def test_the_load_generator_can_import_what_runs_in_it(image: Callable[[str], str]) -> None:
    modules = (
        *("loadtests.swarm.process", "loadtests.locustfile", "loadtests.null_server.__main__"),
        *("loadtests.engine.__main__", "loadtests.scenarios.scenario", "gatebench.runners.docker.agent"),
        *("gatebench.contract.site", "gatebench.machine.facts", "gatebench.machine.kernel"),
    )
    for module in modules:  # one process each: Locust patches the standard library
        run(image(LOADGEN), "python", "-c", f"import {module}")


def test_the_load_generator_leaves_the_rest_of_the_lab_outside(image: Callable[[str], str]) -> None:
    # So that a changed help text builds no image anew.
    absent = (
        "gatebench.cli",
        "gatebench.run",
        "gatebench.registry",
        "gatebench.results",
        "gatebench.runners.process",
    )
    find = f"import importlib.util as u; print([n for n in {absent!r} if u.find_spec(n)])"
    assert run(image(LOADGEN), "python", "-c", find).stdout.strip() == "[]"


def test_the_load_generator_leaves_the_analysis_outside(image: Callable[[str], str]) -> None:
    absent = ("pandas", "pyarrow", "scipy", "matplotlib", "typer", "pydantic", "analysis")
    find = f"import importlib.util as u; print([n for n in {absent!r} if u.find_spec(n)])"
    assert run(image(LOADGEN), "python", "-c", find).stdout == "[]\n"


# A user's own -----------------------------------------------------------------------------------------------


def own_server(folder: Path, requirements: str) -> Path:
    folder.mkdir()
    (folder / "requirements.txt").write_text(requirements)
    (folder / "server.toml").write_text(
        textwrap.dedent("""
            homepage = "https://example.org/"
            [variants.default]
            interface = "wsgi"
            command = ["python", "{app_file}", "{port}"]
            supports = ["close"]
        """)
    )
    return folder


def test_a_users_own_server_and_application_are_built_from_outside_the_repository(
    workshop: Workshop, tmp_path: Path
) -> None:
    server = parse_server(own_server(tmp_path / "mine", "# nothing but Python\n"))
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "wsgi.py").write_text("app = 'mine'\n")
    (shop / "later.py").write_text("this is no Python\n")
    application = parse_application(shop, tmp_path)
    tag = workshop.build("mine", stage_server(server, (*APPLICATIONS, application), tmp_path / "context"))
    done = run(
        tag,
        *("python", "-c", "import shop.wsgi; print(shop.wsgi.app, shop.wsgi.__file__)"),
        variables={"PYTHONPATH": python_path(application)},
    )
    assert done.stdout == "mine /srv/own/shop/wsgi.py\n"


def test_a_package_index_can_be_given_as_a_secret(workshop: Workshop, tmp_path: Path) -> None:
    server = parse_server(own_server(tmp_path / "private", "no-such-package-of-gatebench\n"))
    settings = tmp_path / "pip.conf"
    settings.write_text("[global]\nindex-url = http://127.0.0.1:9/simple\nretries = 0\n")
    staged = stage_server(server, (), tmp_path / "context")
    done = workshop.try_build(workshop.tag("private"), staged, f"--secret=id=pip,src={settings}")
    assert done.returncode != 0
    assert "127.0.0.1:9" in done.stdout + done.stderr
