"""An application of one's own: what is recognised, what is made of it, and what is said where that fails."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gatebench.cli import own_application
from gatebench.cli.importing import ProcessImporter
from gatebench.cli.own_application import (
    Asked,
    asked_for,
    choose_own_runner,
    folders_of,
    within_budget,
    workload_files,
    workload_names,
)
from gatebench.registry.registry import load_registry
from gatebench.registry.workloads import parse_workload
from gatebench.runners.process.environments import Environment
from gatebench.words.errors import ConfigurationError
from gatebench.words.paths import ROOT
from gatebench.words.plan import PROFILES

REGISTRY = load_registry(ROOT)

SITE = """
import os
VALUE = 3
class Later:
    pass
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
async def asgi(scope, receive, send):
    await send({})
def make():
    return application
def needy(settings):
    return application
class Site:
    def __call__(self, environ, start_response):
        return application(environ, start_response)
site = Site()
"""


class Here(ProcessImporter):
    """Imports with this Python, in which nothing is installed."""

    def environment(self, folder: Path) -> Environment:
        assert (folder / "source").is_dir()
        return Environment(Path(sys.executable).parent, {})


HERE = Here(print)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package of that name, imported by this Python and copied into the test's own."""
    monkeypatch.setattr(own_application, "MADE_APPLICATIONS", tmp_path / "made")
    folder = tmp_path / "mysite"
    (folder / "mysite").mkdir(parents=True)
    (folder / "mysite" / "__init__.py").write_text("")
    (folder / "mysite" / "wsgi.py").write_text(SITE)
    (folder / "broken.py").write_text("import os\n\nraise RuntimeError('no database')\n")
    (folder / "lacking.py").write_text("import there_is_no_such_package\n")
    (folder / "wanting.py").write_text("import os\nKEY = os.environ['SECRET_KEY']\ndef app(a, b): ...\n")
    (folder / "leaving.py").write_text("import os\nos._exit(7)\n")
    return folder


def problems(source: Path, app: str) -> str:
    with pytest.raises(ConfigurationError) as caught, folders_of(Asked((app,), source), HERE):
        pass
    assert list((source.parent / "made").iterdir()) == []
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize("name", ["application", "site", "make()"])
def test_wsgi_is_recognised_and_can_be_imported_from_the_copy(source: Path, name: str) -> None:
    with folders_of(Asked((f"mysite.wsgi:{name}",), source), HERE) as made:
        assert made.told[0] == f"mysite.wsgi:{name} is WSGI"
        folder = made.apps_dir / made.application
        assert made.application == "mysite_app"
        assert (folder / "source" / "mysite" / "wsgi.py").is_file()
        found: dict[str, object] = {"__file__": str(folder / "wsgi.py"), "__name__": "wsgi"}
        before = list(sys.path)
        try:
            exec((folder / "wsgi.py").read_text(), found)  # noqa: S102 - what a server would import
            module = sys.modules.pop("mysite.wsgi")
            del sys.modules["mysite"]
        finally:
            sys.path[:] = before
        assert callable(found["app"])
        assert str(module.__file__).startswith(str(folder))
    assert list((source.parent / "made").iterdir()) == []


def test_both_interfaces_may_be_named_and_are_told_apart(source: Path) -> None:
    with folders_of(Asked(("mysite.wsgi:asgi", "mysite.wsgi:application"), source), HERE) as made:
        assert made.told[:2] == ("mysite.wsgi:asgi is ASGI", "mysite.wsgi:application is WSGI")
    both = Asked(("mysite.wsgi:site", "mysite.wsgi:application"), source)
    with pytest.raises(ConfigurationError, match="are both WSGI"), folders_of(both, HERE):
        pass


@pytest.mark.parametrize(
    ("app", "told"),
    [
        ("mysite.wsgl:application", "there is no module 'mysite.wsgl'; it was searched in"),
        (
            "mysite.wsgi:app",
            "mysite.wsgi has no 'app'; it has Later, application, asgi, make, needy, Site, site",
        ),
        ("mysite.wsgi:aplication", "has no 'aplication' (did you mean 'application'?)"),
        ("mysite.wsgi:VALUE", "is int, and no application"),
        ("mysite.wsgi:Later", "is a class; write mysite.wsgi:Later()"),
        ("mysite.wsgi:make", "if it is a factory, write mysite.wsgi:make()"),
        ("mysite.wsgi:needy()", "the factory needs arguments (settings)"),
        ("mysite.wsgi:needy", "takes settings: WSGI takes environ and start_response"),
        ("broken:app", "RuntimeError: no database"),
        ("lacking:app", "it imports 'there_is_no_such_package', which is not there; add the package"),
        ("wanting:app", "it wants the variable SECRET_KEY; set it: --app-env=SECRET_KEY="),
        ("leaving:app", "importing it ended Python with status 7"),
    ],
)
def test_what_is_no_application_is_said_with_the_next_step(source: Path, app: str, told: str) -> None:
    assert told in problems(source, app)


def test_a_variable_reaches_the_application(source: Path) -> None:
    asked = Asked(("wanting:app",), source, environment={"SECRET_KEY": "x"})
    with folders_of(asked, HERE) as made:
        assert made.told[0] == "wanting:app is WSGI"


def test_each_path_has_a_closed_loop_and_an_open_one(tmp_path: Path) -> None:
    asked = Asked(("a:b",), tmp_path, paths=("/", "/api/items?page=2", "/grüße"), varies=(r'value="[^"]+"',))
    found = []
    for name, text in workload_files(asked).items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "workload.toml").write_text(text, encoding="utf-8")
        found.append(parse_workload(tmp_path / name))
    assert [(each.name, each.request.path, each.levels[0].id) for each in found] == [
        ("root", "/", "c64"),
        ("root-rate", "/", "p99-100ms"),
        ("api-items-page-2", "/api/items?page=2", "c64"),
        ("api-items-page-2-rate", "/api/items?page=2", "p99-100ms"),
        ("grusse", "/gr%C3%BC%C3%9Fe", "c64"),
        ("grusse-rate", "/gr%C3%BC%C3%9Fe", "p99-100ms"),
    ]
    assert all(each.request.is_learned for each in found)
    assert {each.request.answer.varies for each in found if each.request.answer} == {(r'value="[^"]+"',)}


def test_the_names_of_workloads_can_be_guessed_from_their_paths_and_are_told(source: Path) -> None:
    paths = ("/", "/Größe/É", "/download", "/a-b", "/a/b", "/a?b", "/2026", "/x-rate", "/x", "/?q")
    assert workload_names(paths) == {
        "/": "root",
        "/Größe/É": "grosse-e",
        "/download": "path-download",
        "/a-b": "a-b",
        "/a/b": "a-b-2",
        "/a?b": "a-b-3",
        "/2026": "path-2026",
        "/x-rate": "x-rate",
        "/x": "x-2",
        "/?q": "q",
    }
    with folders_of(Asked(("mysite.wsgi:site",), source, paths=("/a/b",)), HERE) as made:
        assert made.workloads == ("a-b", "a-b-rate")
        assert (
            made.told[1] == "GET /a/b: workloads a-b (closed loop) and a-b-rate (highest rate within 100ms)"
        )


def test_searches_that_the_budget_does_not_pay_for_are_left_out_and_named(tmp_path: Path) -> None:
    paths = tuple(f"/{number}" for number in "abcdef")
    workloads = []
    for name, text in workload_files(Asked(("a:b",), tmp_path, paths=paths)).items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "workload.toml").write_text(text, encoding="utf-8")
        workloads.append(parse_workload(tmp_path / name))
    subjects = REGISTRY.subjects()[:4]
    every, nothing = within_budget(subjects, workloads, replace(PROFILES["standard"], budget_s=1e6), 1)
    assert (list(every), nothing) == (workloads, "")
    kept, said = within_budget(subjects, workloads, PROFILES["standard"], 1)
    names = [each.name for each in kept]
    assert {"a", "b", "c", "d", "e", "f", "a-rate"} <= set(names)
    assert "f-rate" not in names
    assert "a budget of 780 s does not pay for them: " in said
    assert "f-rate. More time (--budget)" in said
    none, _ = within_budget(subjects, workloads, replace(PROFILES["smoke"], budget_s=1), 1)
    assert [each.name for each in none] == ["a", "b", "c", "d", "e", "f"]


def test_what_cannot_be_is_said_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        asked_for(["a.b"], tmp_path / "none", tmp_path / "no.txt", ["x"], ["x*"], ["A"])
    assert [each.split(":")[0] for each in caught.value.problems] == [
        "--app",
        "--app-dir",
        "--requirements",
        "--paths",
        "--app-env",
        "--varies",
    ]


def test_what_belongs_to_an_application_needs_one(tmp_path: Path) -> None:
    assert asked_for([], None, None, [], [], []) is None
    with pytest.raises(ConfigurationError, match="--paths, --app-env: for an application of your own"):
        asked_for([], None, None, ["/"], [], ["A=b"])


def test_requirements_that_name_other_files_become_one(tmp_path: Path) -> None:
    (tmp_path / "base.txt").write_text("flask\n-r requirements.txt\n")
    (tmp_path / "requirements.txt").write_text("-r base.txt\nredis\n")
    assert own_application.one_file(tmp_path / "requirements.txt").split() == ["flask", "redis"]


@pytest.mark.parametrize(
    "line", ["-e .", "--editable=../shop", "./shop", ".", "/srv/shop", "file:///srv/shop"]
)
def test_a_folder_of_this_machine_is_no_requirement(tmp_path: Path, line: str) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(f"flask>=3 # . and ./here\n-e git+https://example.org/x#egg=x\n{line}\n")
    with pytest.raises(ConfigurationError, match="list the packages that it needs, by name") as caught:
        own_application.one_file(file)
    assert f"{file}: {line}:" in str(caught.value)


def test_its_servers_are_processes_unless_containers_are_asked_for() -> None:
    assert choose_own_runner("auto", []).engine is None
    assert "as is usual for your own application" in choose_own_runner("auto", []).reason
    assert "as asked for" in choose_own_runner("process", []).reason
    with pytest.raises(ConfigurationError, match="--app is measured by itself"):
        choose_own_runner("docker", ["plain"])


@pytest.mark.parametrize(
    ("module", "name"),
    [("_my__site_", "my_site_app"), ("größe", "gre_app"), ("_1", "own_app"), ("shop", "shop_app3")],
)
def test_its_name_is_also_that_of_an_image_and_hides_nothing_of_its_source(
    tmp_path: Path, module: str, name: str
) -> None:
    (tmp_path / "shop_app.py").touch()
    (tmp_path / "shop_app2").mkdir()
    assert own_application._name(Asked((f"{module}.wsgi:app",), tmp_path)) == name


def test_what_is_no_source_is_not_copied(source: Path) -> None:
    for folder in (".git", ".venv", "venv", "node_modules", "__pycache__", ".tox", "mysite/__pycache__"):
        (source / folder).mkdir()
        (source / folder / "left_out.pyc").touch()
    (source / ".env").write_text("A=b")
    with folders_of(Asked(("mysite.wsgi:site",), source), HERE) as made:
        copied = made.apps_dir / made.application / "source"
        found = {each.relative_to(copied).as_posix() for each in copied.rglob("*") if each.is_file()}
    assert "mysite/wsgi.py" in found
    assert ".env" in found
    assert not [each for each in found if "left_out" in each]


def test_a_module_that_is_missing_was_searched_in_the_folder_that_a_person_named(source: Path) -> None:
    said = problems(source, "mysite.wsgl:application")
    assert f"searched in\n  {source}\n" in said
    assert ".gatebench" not in said.replace(f"{source}", "").splitlines()[1]
