"""Folders register themselves; names and globs select among them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gatebench.registry.registry import Registry, Selection, load_registry, select, select_subjects
from gatebench.words.errors import ConfigurationError
from gatebench.words.paths import MADE_APPLICATIONS
from tests.support.folders import SERVER, WORKLOAD, add_application, add_server

SUBJECTS = ("gunicorn-gthread", "gunicorn-sync", "gunicorn-sync+flask", "uvicorn", "uvicorn-h11")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add_server(tmp_path / "servers", "demo")
    add_application(tmp_path / "apps", "plain", "wsgi.py", "asgi.py")
    folder = tmp_path / "loadtests" / "workloads" / "short-answers"
    folder.mkdir(parents=True)
    (folder / "workload.toml").write_text(WORKLOAD)
    return tmp_path


def test_a_folder_is_registered_under_its_name(root: Path) -> None:
    registry = load_registry(root)
    assert (list(registry.servers), list(registry.applications)) == (["demo"], ["plain"])
    assert list(registry.workloads) == ["short-answers"]


def test_subjects_stand_in_front_of_the_plain_application_unless_others_are_named(root: Path) -> None:
    add_application(root / "apps", "other", "wsgi.py")
    registry = load_registry(root)
    assert [subject.id for subject in registry.subjects()] == ["demo"]
    assert [subject.id for subject in registry.subjects(("plain", "other"))] == ["demo", "demo+other"]


def test_an_application_without_the_variants_form_gives_no_subject(root: Path) -> None:
    add_application(root / "apps", "other", "asgi.py")
    assert load_registry(root).subjects(("other",)) == ()


def test_an_application_is_imported_from_where_it_lies(root: Path, tmp_path: Path) -> None:
    add_application(tmp_path / "mine", "special", "wsgi.py")
    registry = load_registry(root, apps_dirs=[tmp_path / "mine"])
    plain, special = registry.applications["plain"], registry.applications["special"]
    assert (plain.wsgi, plain.search_path) == ("apps.plain.wsgi:app", root)
    assert (special.wsgi, special.search_path) == ("special.wsgi:app", tmp_path / "mine")
    assert plain.search_paths == (root,)
    assert special.search_paths == (tmp_path / "mine", root)  # it may wrap the plain one


def test_a_users_folder_adds_servers_and_workloads(root: Path, tmp_path: Path) -> None:
    add_server(tmp_path / "mine", "another")
    folder = tmp_path / "loads" / "more"
    folder.mkdir(parents=True)
    (folder / "workload.toml").write_text(WORKLOAD)
    registry = load_registry(root, servers_dirs=[tmp_path / "mine"], workloads_dirs=[tmp_path / "loads"])
    assert list(registry.servers) == ["another", "demo"]
    assert list(registry.workloads) == ["more", "short-answers"]


def test_a_name_that_two_folders_claim_is_an_error_that_names_both(root: Path, tmp_path: Path) -> None:
    add_server(tmp_path / "mine", "demo")
    with pytest.raises(ConfigurationError) as caught:
        load_registry(root, servers_dirs=[tmp_path / "mine"])
    (problem,) = caught.value.problems
    assert str(tmp_path / "mine" / "demo") in problem
    assert str(root / "servers" / "demo") in problem


def test_the_problems_of_all_folders_are_reported_at_once(root: Path) -> None:
    add_server(root / "servers", "second", SERVER.replace("stop =", "stopp ="))
    (root / "loadtests" / "workloads" / "short-answers" / "workload.toml").write_text("transport = 1")
    (root / "apps" / "plain" / "wsgi.py").unlink()
    (root / "apps" / "plain" / "asgi.py").rename(root / "apps" / "plain" / "asgy.py")
    with pytest.raises(ConfigurationError) as caught:
        load_registry(root)
    text = "\n".join(caught.value.problems)
    assert "stopp" in text
    assert "transport: must be a string" in text
    assert "holds no application" in text


@pytest.mark.parametrize("name", ["__pycache__", ".hidden", "empty"])
def test_a_folder_that_registers_nothing_is_passed_over(root: Path, name: str) -> None:
    (root / "servers" / name / "__pycache__").mkdir(parents=True)
    (root / "servers" / name / "__pycache__" / "x.pyc").touch()
    assert list(load_registry(root).servers) == ["demo"]


def test_a_folder_with_files_but_without_its_toml_is_an_error(root: Path) -> None:
    folder = add_server(root / "servers", "half")
    (folder / "server.toml").unlink()
    with pytest.raises(ConfigurationError, match=r"half/server\.toml: cannot be read"):
        load_registry(root)


def test_a_named_folder_that_is_not_there_is_an_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere: is no folder \\(--servers-dir\\)"):
        load_registry(root, servers_dirs=[tmp_path / "nowhere"])


def test_naming_a_server_folder_itself_is_explained(root: Path, tmp_path: Path) -> None:
    folder = add_server(tmp_path / "mine", "another")
    with pytest.raises(ConfigurationError, match="name the folder above it"):
        load_registry(root, servers_dirs=[folder])


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ((), SUBJECTS),
        (("uvicorn",), ("uvicorn",)),
        (("gunicorn-sync",), ("gunicorn-sync",)),
        (("gunicorn",), SUBJECTS[:3]),
        (("*-h11", "gunicorn-g*"), ("gunicorn-gthread", "uvicorn-h11")),
        (("uvicorn", "uvicorn*"), ("uvicorn", "uvicorn-h11")),
    ],
)
def test_names_globs_and_whole_servers_select_subjects(
    patterns: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert select(patterns, SUBJECTS, "server") == expected


def test_an_unknown_name_is_refused_with_the_nearest_and_all_known_ones() -> None:
    with pytest.raises(ConfigurationError) as caught:
        select(["uvicron", "nothing*", "uvicorn"], SUBJECTS, "server")
    first, second = caught.value.problems
    assert first.startswith('unknown server "uvicron" (did you mean "uvicorn"?); known: gunicorn-gthread, ')
    assert 'unknown server "nothing*"' in second


def test_a_part_of_a_name_selects_servers_only() -> None:
    with pytest.raises(ConfigurationError, match='unknown workload "keep"'):
        select(["keep"], ["keep-alive"], "workload")


@pytest.fixture
def several(root: Path) -> Registry:
    """Servers `demo` and `many-wsgi` speak WSGI, `many-asgi` ASGI; the applications have one form or both."""
    wsgi = SERVER[SERVER.index("[variants.") :]
    asgi = wsgi.replace('"wsgi"', '"asgi"').replace("[variants.default", "[variants.asgi")
    head = SERVER[: SERVER.index("[variants.")]
    add_server(root / "servers", "many", head + wsgi.replace("[variants.default", "[variants.wsgi") + asgi)
    add_application(root / "apps", "both", "wsgi.py", "asgi.py")
    add_application(root / "apps", "modern", "asgi.py")
    add_application(root / "apps", "old", "wsgi.py")
    return load_registry(root)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("", "demo many-wsgi"),
        ("*", "demo many-wsgi many-asgi"),
        ("many", "many-wsgi many-asgi"),
        ("many-asgi", "many-asgi"),
    ],
)
def test_a_variant_that_is_not_selected_is_measured_where_somebody_names_it(
    several: Registry, patterns: str, expected: str
) -> None:
    many = several.servers["many"]
    variants = tuple(replace(each, selected=each.name != "asgi") for each in many.variants)
    servers = {**several.servers, "many": replace(many, variants=variants)}
    registry = replace(several, servers=servers)
    assert ids(select_subjects(registry, patterns.split(), [])) == expected.split()


def ids(selection: Selection) -> list[str]:
    return [subject.id for subject in selection.subjects]


@pytest.mark.parametrize(
    ("patterns", "applications", "expected"),
    [
        ("", "", "demo many-wsgi many-asgi"),
        ("demo", "plain both", "demo+both demo"),
        ("demo many-asgi", "both plain", "demo+both demo many-asgi+both many-asgi"),
        ("many", "both", "many-wsgi+both many-asgi+both"),
        ("many-*", "plain both", "many-wsgi+both many-wsgi many-asgi+both many-asgi"),
        ("demo+both", "", "demo+both"),
        ("demo+both", "both", "demo+both"),
        ("demo demo+both", "", "demo+both demo"),
        ("many+both", "", "many-wsgi+both many-asgi+both"),
        ("demo+plain", "", "demo"),
        ("demo+*", "", "demo+both demo+old"),
        ("demo+*", "both", "demo+both"),
        ("*+modern demo", "", "demo many-asgi+modern"),
        ("*modern", "modern", "many-asgi+modern"),
        ("many-asgi+modern demo", "plain both", "demo+both demo many-asgi+modern"),
        ("", "old modern", "demo+old many-wsgi+old many-asgi+modern"),
        ("", "o*", "demo+old many-wsgi+old"),
    ],
)
def test_a_server_is_chosen_with_every_application_and_a_subject_as_it_is_written(
    several: Registry, patterns: str, applications: str, expected: str
) -> None:
    assert ids(select_subjects(several, patterns.split(), applications.split())) == expected.split()


def test_what_some_of_the_servers_cannot_run_is_said_and_the_rest_is_chosen(several: Registry) -> None:
    selection = select_subjects(several, ["demo", "many"], ["plain", "modern"])
    assert ids(selection) == ["demo", "many-wsgi", "many-asgi+modern", "many-asgi"]
    (line,) = selection.left_out
    assert line.startswith("not measured: demo+modern, many-wsgi+modern, because ")
    assert line.endswith("apps/modern has no WSGI form (wsgi.py), only asgi.py")


def test_of_an_application_that_a_person_named_no_folder_is_spoken_of(several: Registry) -> None:
    modern = several.applications["modern"]
    made = replace(modern, folder=MADE_APPLICATIONS / "1" / "apps" / "modern", title="shop:create_app()")
    registry = replace(several, applications={**several.applications, "modern": made})
    with pytest.raises(ConfigurationError) as caught:
        select_subjects(registry, ["demo"], ["modern"])
    (problem,) = caught.value.problems
    assert problem.endswith(
        "no chosen server can run it: shop:create_app() is ASGI alone; name servers of that interface "
        "(--servers), or its WSGI form, too (--app)"
    )


def test_nothing_is_said_where_all_that_was_named_is_chosen(several: Registry) -> None:
    assert select_subjects(several, ["demo"], ["plain", "both", "old"]).left_out == ()


@pytest.mark.parametrize(
    ("patterns", "applications", "expected"),
    [
        ("demo", "plain modern", ['application "modern": no chosen server can run it: ']),
        ("demo many-asgi", "modern", ['server "demo": it can run none of the applications: ']),
        ("demo+modern", "", ['server "demo+modern": it can run none of the applications: ']),
        ("demo", "modern", ['application "modern": no chosen server can run it: ']),
        ("demo+both", "both old", ['application "old": every server is named with its application']),
        ("demo+moder", "", ['unknown application "moder" in "demo+moder" (did you mean "modern"?)']),
        ("demmo+both", "", ['unknown server "demmo+both" (did you mean "demo"?)']),
        ("both", "", ['unknown server "both" (it is an application: name it with --apps)']),
        ("x*", "y*", ['unknown application "y*"', 'unknown server "x*"']),
    ],
)
def test_a_name_that_would_be_measured_nowhere_is_refused_with_its_reason(
    several: Registry, patterns: str, applications: str, expected: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        select_subjects(several, patterns.split(), applications.split())
    assert len(caught.value.problems) == len(expected)
    for problem, start in zip(caught.value.problems, expected, strict=True):
        assert problem.startswith(start)
