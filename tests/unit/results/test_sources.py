"""Keeping with a run what it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatebench.machine.facts import content_hash
from gatebench.registry.registry import load_registry
from gatebench.results.bundle import keep_sources, kept_registry
from gatebench.words.errors import ConfigurationError
from gatebench.words.paths import ROOT

REGISTRY = load_registry(ROOT)


def test_what_was_kept_is_read_as_the_repository_is(tmp_path: Path) -> None:
    subjects = REGISTRY.subjects()
    workloads = tuple(REGISTRY.workloads.values())
    keep_sources(subjects, workloads, tmp_path / "sources")
    kept = kept_registry(tmp_path / "sources")
    assert [each.id for each in kept.subjects()] == [each.id for each in subjects]
    assert [each.variant for each in kept.subjects()] == [each.variant for each in subjects]
    assert [each.levels for each in kept.workloads.values()] == [each.levels for each in workloads]
    for name, server in kept.servers.items():
        assert content_hash(server.folder) == content_hash(REGISTRY.servers[name].folder)
        assert server.pinned


def test_an_application_of_the_users_own_keeps_the_path_it_is_imported_by(tmp_path: Path) -> None:
    own = tmp_path / "mine" / "small"
    own.mkdir(parents=True)
    (own / "wsgi.py").write_text("def app(environ, start_response): ...\n")
    registry = load_registry(ROOT, apps_dirs=[tmp_path / "mine"])
    subjects = registry.subjects(["small"])
    keep_sources(subjects, (), tmp_path / "sources")
    kept = kept_registry(tmp_path / "sources").applications["small"]
    assert kept.wsgi == registry.applications["small"].wsgi
    assert kept.search_paths == (tmp_path / "sources" / "own-apps", tmp_path / "sources")
    assert content_hash(*kept.folders) == content_hash(*registry.applications["small"].folders)


def test_an_application_that_imports_from_the_plain_one_has_it_beside_it(tmp_path: Path) -> None:
    bare = REGISTRY.applications["bare"]
    assert bare.folders == (ROOT / "apps" / "bare", ROOT / "apps" / "plain")
    keep_sources(REGISTRY.subjects(["bare", "plain"]), (), tmp_path / "sources")
    kept = kept_registry(tmp_path / "sources").applications["bare"]
    assert kept.packaged
    assert content_hash(*kept.folders) == content_hash(*bare.folders) != content_hash(bare.folder)


def test_what_an_application_declares_and_requires_is_kept_with_the_run(tmp_path: Path) -> None:
    flask = REGISTRY.applications["flask"]
    keep_sources(REGISTRY.subjects(["flask"]), (), tmp_path / "sources")
    kept = kept_registry(tmp_path / "sources").applications["flask"]
    assert kept.routes == flask.routes
    assert kept.requirements is not None
    assert flask.requirements is not None
    assert kept.requirements.read_bytes() == flask.requirements.read_bytes()
    assert kept.pinned


def test_the_published_run_that_can_be_repeated_has_what_it_says_it_was_made_from() -> None:
    given = ROOT / "docs" / "reproduced" / "given"
    hashes = json.loads((given / "run.json").read_text())["hashes"]
    kept = kept_registry(given / "sources")

    held = {f"apps/{each.name}": content_hash(*each.folders) for each in kept.applications.values()}
    held |= {f"workloads/{each.name}": content_hash(each.folder) for each in kept.workloads.values()}
    assert set(kept.servers) == {"granian", "gunicorn", "uvicorn"}
    assert held == {
        name: digest for name, digest in hashes.items() if name.startswith(("apps/", "workloads/"))
    }


def test_a_run_that_kept_nothing_cannot_be_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="it can be compared with others, but not repeated"):
        kept_registry(tmp_path / "sources")
