"""An application says in `app.toml` what it answers; without one it answers the whole contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatebench.registry.registry import load_registry
from gatebench.registry.servers import parse_application
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import Application
from gatebench.words.paths import ROOT
from tests.support.folders import REQUIREMENTS, add_application

APP = """\
title = "Demo"
homepage = "https://example.org/"
routes = ["/", "/wait/{ms}", "/ws/echo"]

[environment]
DEMO = "yes"
"""


def parse(
    tmp_path: Path, text: str = APP, *, forms: tuple[str, ...] = ("asgi.py",), shipped: bool = False
) -> Application:
    if not (tmp_path / "mine").is_dir():
        add_application(tmp_path, "mine", *forms)
    (tmp_path / "mine" / "app.toml").write_text(text)
    return parse_application(tmp_path / "mine", tmp_path, shipped=shipped)


def problems(tmp_path: Path, text: str = APP, **options: object) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        parse(tmp_path, text, **options)  # type: ignore[arg-type]
    return caught.value.problems


def test_an_application_declares_its_title_its_routes_and_its_variables(tmp_path: Path) -> None:
    found = parse(tmp_path)
    assert (found.title, found.homepage) == ("Demo", "https://example.org/")
    assert found.routes == frozenset({"/", "/wait/{ms}", "/ws/echo"})
    assert found.environment == {"DEMO": "yes"}
    assert found.unanswered({"/", "/json"}) == {"/json"}


def test_an_application_without_a_file_answers_the_whole_contract(tmp_path: Path) -> None:
    add_application(tmp_path, "mine", "wsgi.py")
    found = parse_application(tmp_path / "mine", tmp_path)
    assert found.routes is None
    assert found.unanswered({"/", "/stream/{n}"}) == frozenset()


def test_every_problem_of_an_application_is_reported_at_once_with_the_near_name(tmp_path: Path) -> None:
    text = 'titel = "Demo"\nroutes = ["/plaintex"]\n[environment]\nPYTHONPATH = "/mine"\n'
    found = problems(tmp_path, text)
    assert len(found) == 4
    assert any("titel: unknown key" in each and "title" in each for each in found)
    assert any('"/plaintex" is no route' in each and "/plaintext" in each for each in found)
    assert any("routes: names no HTTP route" in each for each in found)
    assert any("environment.PYTHONPATH: is set by the lab" in each for each in found)


def test_an_application_needs_an_http_route_by_which_it_is_known_to_be_ready(tmp_path: Path) -> None:
    assert "no HTTP route" in problems(tmp_path, 'routes = ["/ws/echo"]\n')[0]


def test_a_websocket_needs_the_asgi_form(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, forms=("wsgi.py",))
    assert "/ws/echo" in found
    assert "asgi.py" in found


def test_a_shipped_applications_requirements_are_pinned_and_hashed_and_ones_own_may_be_loose(
    tmp_path: Path,
) -> None:
    add_application(tmp_path, "mine", "asgi.py")
    requirements = tmp_path / "mine" / "requirements.txt"
    requirements.write_text("flask\n")
    assert not parse(tmp_path).pinned
    assert "must be pinned" in problems(tmp_path, shipped=True)[0]
    requirements.write_text(REQUIREMENTS)
    found = parse(tmp_path, shipped=True)
    assert found.pinned
    assert found.requirements == requirements


def test_loose_requirements_alone_are_a_fault_since_nothing_would_be_installed(tmp_path: Path) -> None:
    add_application(tmp_path, "mine", "asgi.py")
    (tmp_path / "mine" / "requirements.in").write_text("flask\n")
    assert "requirements.txt" in problems(tmp_path)[0]


def test_every_shipped_framework_declares_what_it_answers_and_brings_pinned_requirements() -> None:
    shipped = load_registry(ROOT).applications
    framed = [each for name, each in shipped.items() if name not in {"plain", "bare"}]
    assert len(framed) >= 5
    for each in framed:
        assert each.pinned
        assert each.title
        assert each.homepage
        assert each.requirements is not None
        assert each.routes is not None


DATABASE = (
    'requires = ["database"]\nroutes = ["/db/row/{id}"]\nprepare = ["python", "-m", "manage", "migrate"]\n'
)


def test_an_application_declares_what_it_requires_and_how_it_is_prepared(tmp_path: Path) -> None:
    found = parse(tmp_path, DATABASE)
    assert found.requires == {"database"}
    assert found.prepare == ("python", "-m", "manage", "migrate")


def test_routes_of_a_database_need_one_and_the_lab_says_itself_where_it_is(tmp_path: Path) -> None:
    (missing,) = problems(tmp_path, 'routes = ["/db/row/{id}"]\n')
    assert 'requires: must name "database", which /db/row/{id}, ' in missing
    (unknown,) = problems(tmp_path, 'requires = ["databse"]\n')
    assert "database" in unknown
    (own,) = problems(tmp_path, f'{DATABASE}[environment]\nDATABASE_URL = "mine"\n')
    assert "environment.DATABASE_URL: is set by the lab" in own


def test_an_application_that_declares_no_routes_answers_none_of_a_database(tmp_path: Path) -> None:
    found = parse(tmp_path, 'title = "Mine"\n')
    assert found.unanswered({"/plaintext"}) == frozenset()
    assert found.unanswered({"/db/row/{id}"}, {"database"}) == {"/db/row/{id}"}
