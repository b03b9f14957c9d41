"""A build context holds what its image needs and no more, and is known by its content anywhere."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gatebench.registry.registry import load_registry
from gatebench.registry.servers import parse_application, parse_server
from gatebench.registry.workloads import parse_workload
from gatebench.results.bundle import keep_sources, kept_registry
from gatebench.runners.docker.services import app_file, python_path, workload_folder
from gatebench.runners.docker.staging import Staged, stage_loadgen, stage_pair, stage_server
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import Application, Server
from gatebench.words.paths import ROOT

REGISTRY = load_registry(ROOT)
PLAIN = REGISTRY.applications["plain"]
UVICORN = REGISTRY.servers["uvicorn"]
SERVER_TOML = """
homepage = "https://example.org/"
[variants.default]
interface = "wsgi"
command = ["python", "{app_file}", "{port}"]
supports = ["close"]
"""
NOBODY = 65534


@pytest.fixture
def stage(tmp_path: Path) -> Callable[..., Staged]:
    """Stages a server's context, each time in a folder that was not there before."""
    numbers = iter(range(100))

    def one(server: Server, *applications: Application) -> Staged:
        return stage_server(server, applications, tmp_path / f"context-{next(numbers)}")

    return one


def own_server(folder: Path, requirements: str = "demo\n") -> Server:
    folder.mkdir(parents=True)
    (folder / "server.toml").write_text(SERVER_TOML)
    (folder / "requirements.txt").write_text(requirements)
    return parse_server(folder)


def own_application(folder: Path) -> Application:
    folder.mkdir(parents=True)
    (folder / "wsgi.py").write_text("app = None\n")
    return parse_application(folder, folder.parent)


def names(staged: Staged) -> set[str]:
    return {
        path.relative_to(staged.context).as_posix() for path in staged.context.rglob("*") if path.is_file()
    }


def problems(act: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as raised:
        act()
    return "\n".join(raised.value.problems)


# What a context holds ---------------------------------------------------------------------------------------


def test_a_servers_context_holds_its_requirements_the_launcher_and_the_applications(
    stage: Callable[..., Staged],
) -> None:
    staged = stage(UVICORN, PLAIN)
    plain = {f"apps/plain/{path.name}" for path in (ROOT / "apps" / "plain").glob("*.py")}
    assert names(staged) == plain | {
        "apps/__init__.py",
        "apps/contract.toml",
        "servers/Dockerfile",
        "servers/launch.py",
        "servers/uvicorn/requirements.txt",
    }
    assert staged.dockerfile == "servers/Dockerfile"
    assert staged.build_args == {"PIP_OPTIONS": "--require-hashes", "SERVER": "uvicorn"}


@pytest.mark.parametrize("name", ["uwsgi", "mod_wsgi"])
def test_a_server_that_is_compiled_brings_its_own_dockerfile_and_a_pinned_build_backend(
    stage: Callable[..., Staged], name: str
) -> None:
    staged = stage(REGISTRY.servers[name])
    assert staged.dockerfile == f"servers/{name}/Dockerfile"
    assert {staged.dockerfile, "requirements/build.txt"} <= names(staged)


def test_every_file_that_a_dockerfile_copies_is_in_its_context(
    stage: Callable[..., Staged], tmp_path: Path
) -> None:
    contexts = [stage(server, PLAIN) for server in REGISTRY.servers.values()]
    contexts.append(stage_loadgen((), tmp_path / "loadgen"))
    for staged in contexts:
        text = (staged.context / staged.dockerfile).read_text()
        copied = [
            word
            for words in re.findall(r"^COPY ((?!--from).*)$", text, re.MULTILINE)
            for word in words.split()[:-1]
        ]
        assert copied
        for word in copied:
            name = word.replace("${SERVER}", staged.build_args.get("SERVER", ""))
            assert "[" in name or (staged.context / name).exists(), (staged.dockerfile, name)


def test_what_a_user_wrote_lies_in_folders_of_its_own(stage: Callable[..., Staged], tmp_path: Path) -> None:
    server = own_server(tmp_path / "elsewhere" / "demo")
    application = own_application(tmp_path / "mine" / "shop")
    (application.folder / "data").mkdir()
    (application.folder / "data" / "items.json").write_text("[]")
    staged = stage(server, PLAIN, application)
    assert {"servers/demo/requirements.txt", "own/shop/wsgi.py", "own/shop/data/items.json"} <= names(staged)
    assert staged.build_args == {"PIP_OPTIONS": "", "SERVER": "demo"}
    assert app_file(application, "wsgi") == "/srv/own/shop/wsgi.py"
    assert python_path(application) == "/srv/own:/srv"
    assert app_file(PLAIN, "asgi") == "/srv/apps/plain/asgi.py"
    assert python_path(PLAIN) == "/srv"


def test_the_plain_application_is_beside_one_that_may_import_from_it(
    stage: Callable[..., Staged], tmp_path: Path
) -> None:
    own = replace(own_application(tmp_path / "mine" / "shop"), plain=ROOT / "apps" / "plain")
    staged = stage(UVICORN, REGISTRY.applications["bare"], own)
    assert {"apps/bare/asgi.py", "apps/plain/asgi.py", "own/shop/wsgi.py"} <= names(staged)


def test_what_a_run_kept_is_imported_in_an_image_as_in_the_repository(
    stage: Callable[..., Staged], tmp_path: Path
) -> None:
    keep_sources(REGISTRY.subjects(), (), tmp_path / "sources")
    kept = kept_registry(tmp_path / "sources").applications["plain"]
    assert names(stage(UVICORN, kept)) == names(stage(UVICORN, PLAIN))
    assert (app_file(kept, "asgi"), python_path(kept)) == (app_file(PLAIN, "asgi"), python_path(PLAIN))


def test_a_users_dockerfile_is_taken_from_the_servers_folder(
    stage: Callable[..., Staged], tmp_path: Path
) -> None:
    server = own_server(tmp_path / "demo")
    (server.folder / "Dockerfile").write_text("FROM scratch\n")
    assert stage(server).dockerfile == "servers/demo/Dockerfile"


def test_hidden_and_compiled_files_stay_out(stage: Callable[..., Staged], tmp_path: Path) -> None:
    application = own_application(tmp_path / "shop")
    for name in (".env", ".git/config", "__pycache__/wsgi.cpython-313.pyc", "old.pyc"):
        (application.folder / name).parent.mkdir(exist_ok=True)
        (application.folder / name).write_text("no")
    assert {name for name in names(stage(UVICORN, application)) if name.startswith("own/")} == {
        "own/shop/wsgi.py"
    }


def test_the_load_generators_context_holds_the_lab_and_the_users_own_workloads(tmp_path: Path) -> None:
    own = tmp_path / "visit-mine"
    shutil.copytree(REGISTRY.workloads["visit"].folder, own)
    workload = parse_workload(own)
    staged = stage_loadgen((workload, REGISTRY.workloads["visit"]), tmp_path / "context")
    found = names(staged)
    assert {
        "apps/contract.toml",
        "gatebench/contract/verify.py",
        "loadtests/engine/slot.py",
        "loadtests/workloads/visit/locustfile.py",
        "own-workloads/visit-mine/locustfile.py",
        "requirements/loadgen.txt",
    } <= found
    assert not [name for name in found if "__pycache__" in name or name.startswith("loadtests/bench/")]
    assert workload_folder(workload) == "/srv/own-workloads/visit-mine"
    assert workload_folder(REGISTRY.workloads["visit"]) == "/srv/loadtests/workloads/visit"


def test_a_selection_among_the_repositorys_workloads_makes_no_other_image(tmp_path: Path) -> None:
    none = stage_loadgen((), tmp_path / "none")
    every = stage_loadgen(tuple(REGISTRY.workloads.values()), tmp_path / "all")
    assert none.key == every.key


def test_the_load_generator_has_the_labs_versions() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / name).read_text()
        return set(re.findall(r"^[a-z0-9][^\s]*==[^\s]+", text, re.MULTILINE))

    assert pins("loadgen.txt")
    assert pins("loadgen.txt") <= pins("lab.txt")


def test_everything_in_a_context_can_be_read_by_every_user(
    stage: Callable[..., Staged], tmp_path: Path
) -> None:
    application = own_application(tmp_path / "shop")
    (application.folder / "wsgi.py").chmod(0o600)
    before = os.umask(0o077)
    try:
        staged = stage(UVICORN, application)
    finally:
        os.umask(before)
    for path in (staged.context, *staged.context.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "left-over").touch()
    with pytest.raises(ValueError, match="not empty"):
        stage_server(UVICORN, (PLAIN,), tmp_path)


# The key ----------------------------------------------------------------------------------------------------


def test_the_same_sources_have_the_same_key_anywhere_and_at_any_time(
    stage: Callable[..., Staged], tmp_path: Path
) -> None:
    keys = set()
    for place in ("one", "another/deeper"):
        server = own_server(tmp_path / place / "demo")
        application = own_application(tmp_path / place / "shop")
        for path in (server.requirements, application.folder / "wsgi.py"):
            os.utime(path, (len(place), len(place)))
        keys.add(stage(server, PLAIN, application).key)
    assert len(keys) == 1
    assert re.fullmatch(r"[0-9a-f]{12}", keys.pop())


def test_the_order_of_the_applications_does_not_matter(stage: Callable[..., Staged], tmp_path: Path) -> None:
    own = own_application(tmp_path / "shop")
    assert stage(UVICORN, PLAIN, own).key == stage(UVICORN, own, PLAIN).key


def test_whatever_goes_into_the_image_changes_the_key(stage: Callable[..., Staged], tmp_path: Path) -> None:
    server = own_server(tmp_path / "demo")
    application = own_application(tmp_path / "shop")
    keys = [stage(server, application).key]
    (application.folder / "wsgi.py").write_text("app = 1\n")
    keys.append(stage(server, application).key)
    (application.folder / "wsgi.py").rename(application.folder / "other.py")
    keys.append(stage(server, application).key)
    (application.folder / "other.py").chmod(0o755)
    keys.append(stage(server, application).key)
    (server.folder / "Dockerfile").write_text("FROM scratch\n")
    keys.append(stage(server, application).key)
    keys.append(stage(replace(server, pinned=True), application).key)
    assert len(set(keys)) == len(keys)


def test_how_a_server_is_run_is_no_part_of_its_image(stage: Callable[..., Staged], tmp_path: Path) -> None:
    server = own_server(tmp_path / "demo")
    before = stage(server).key
    (server.folder / "server.toml").write_text(SERVER_TOML + 'stop = "INT"\n')
    (server.folder / "requirements.in").write_text("demo\n")
    assert stage(server).key == before


# What cannot be staged --------------------------------------------------------------------------------------


def test_a_link_within_a_folder_is_followed(stage: Callable[..., Staged], tmp_path: Path) -> None:
    application = own_application(tmp_path / "shop")
    (application.folder / "asgi.py").symlink_to("wsgi.py")
    (application.folder / "data").mkdir()
    (application.folder / "data" / "items.json").write_text("[]")
    (application.folder / "again").symlink_to("data")
    staged = stage(UVICORN, application)
    assert {"own/shop/asgi.py", "own/shop/again/items.json"} <= names(staged)
    assert not [path for path in staged.context.rglob("*") if path.is_symlink()]


def test_every_file_that_an_image_cannot_hold_is_named_at_once(
    stage: Callable[..., Staged], tmp_path: Path
) -> None:
    application = own_application(tmp_path / "shop")
    (tmp_path / "secret.txt").write_text("no")
    (application.folder / "outside").symlink_to(tmp_path / "secret.txt")
    (application.folder / "lost").symlink_to("nowhere")
    (application.folder / "loop").symlink_to("loop")
    (application.folder / "round").symlink_to(".")
    os.mkfifo(application.folder / "pipe")
    said = problems(lambda: stage(UVICORN, application))
    assert f"{application.folder / 'outside'}: is a symbolic link out of {application.folder}" in said
    assert f"{application.folder / 'lost'}: is a symbolic link that leads nowhere" in said
    assert f"{application.folder / 'loop'}: is a symbolic link that leads nowhere" in said
    assert f"{application.folder / 'round'}: is a symbolic link to a folder that holds it" in said
    assert f"{application.folder / 'pipe'}: is neither a file nor a folder" in said


@contextmanager
def open_to_all() -> Iterator[Path]:
    """A folder in which an ordinary user may do everything."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_a_file_that_cannot_be_read_is_named() -> None:
    with open_to_all() as folder:
        application = own_application(folder / "shop")
        closed = application.folder / "closed.py"
        closed.touch(mode=0o000)
        (application.folder / "locked").mkdir(mode=0o000)
        user = os.geteuid()
        os.seteuid(user or NOBODY)  # root can read everything
        try:
            said = problems(lambda: stage_server(UVICORN, (application,), folder / "context"))
        finally:
            os.seteuid(user)
        assert f"{closed}: cannot be read: Permission denied" in said
        assert f"{application.folder / 'locked'}: cannot be read: Permission denied" in said


def test_a_linked_package_outside_the_servers_folder_is_refused_and_one_inside_is_not(
    stage: Callable[..., Staged], tmp_path: Path
) -> None:
    outside = own_server(tmp_path / "outside", "-e ../checkout[fast]\n")
    assert "-e ../checkout: lies outside" in problems(lambda: stage(outside))
    inside = own_server(tmp_path / "inside", "-e .\n--editable=./sub\n")
    (inside.folder / "pyproject.toml").write_text("[project]\n")
    assert "servers/inside/pyproject.toml" in names(stage(inside))


# An application with requirements of its own ----------------------------------------------------------------


def framed(folder: Path, requirements: str = "demo\n") -> Application:
    folder.mkdir(parents=True)
    (folder / "wsgi.py").write_text("app = None\n")
    (folder / "requirements.txt").write_text(requirements)
    return parse_application(folder, folder.parent)


def test_an_application_with_requirements_is_built_on_its_servers_image(tmp_path: Path) -> None:
    application = framed(tmp_path / "mine" / "shop", "demo==2.0\n")
    server = own_server(tmp_path / "own" / "demo", "gunicorn\n")
    staged = stage_pair(server, application, "gatebench/demo:1234", tmp_path / "context")
    assert {"Dockerfile", "requirements.txt", "own/shop/wsgi.py", "apps/contract.toml"} <= names(staged)
    assert not any(name.startswith("servers/") for name in names(staged))
    assert staged.build_args == {"BASE": "gatebench/demo:1234", "PIP_OPTIONS": "", "SERVER": "demo"}
    text = (staged.context / "requirements.txt").read_text()
    assert text.startswith("gunicorn\n")
    assert text.endswith("demo==2.0\n")


def test_a_pair_of_which_not_all_is_pinned_is_installed_without_hashes(tmp_path: Path) -> None:
    application = framed(tmp_path / "apps" / "framed", "flask\n")
    staged = stage_pair(
        REGISTRY.servers["waitress"], application, "gatebench/waitress:1", tmp_path / "context"
    )
    text = (staged.context / "requirements.txt").read_text()
    # pip takes a single hash for the wish that every requirement has one.
    assert "--hash" not in text
    assert "waitress==3" in text
    assert "flask" in text
    assert "\\" not in text
    assert staged.build_args["PIP_OPTIONS"] == ""


def test_the_image_of_a_pair_is_another_where_its_servers_is(tmp_path: Path) -> None:
    application = framed(tmp_path / "mine" / "shop")
    keys = {
        stage_pair(UVICORN, application, f"gatebench/uvicorn:{base}", tmp_path / f"context-{number}").key
        for number, base in enumerate(("1", "1", "2"))
    }
    assert len(keys) == 2


def test_what_an_application_links_must_lie_in_its_folder_where_an_image_is_made(tmp_path: Path) -> None:
    application = framed(tmp_path / "mine" / "shop", "-e ../elsewhere\n")
    said = problems(lambda: stage_pair(UVICORN, application, "gatebench/uvicorn:1", tmp_path / "context"))
    assert "-e ../elsewhere: lies outside" in said


def test_a_shipped_application_has_its_place_in_the_package_where_it_is_built(tmp_path: Path) -> None:
    flask = REGISTRY.applications["flask"]
    staged = stage_pair(REGISTRY.servers["waitress"], flask, "gatebench/waitress:1", tmp_path / "context")
    assert {"apps/flask/wsgi.py", "apps/plain/routes.py", "apps/flask/app.toml"} <= names(staged)
    assert staged.build_args["PIP_OPTIONS"] == "--require-hashes"
