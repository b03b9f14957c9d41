"""An application of one's own in containers: imported in one, staged into images, learned from and loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.lab import gatebench

SITE = """
import os
from html import escape

from small import greeting


def make():
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [f"<p>{escape(greeting)}, {os.environ['WHO']}!</p>".encode()]

    return application
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder, whose name has a space and an umlaut, of a site that reads a variable."""
    folder = tmp_path / "Läden und so"
    (folder / ".venv").mkdir(parents=True)
    (folder / "shop.py").write_text(SITE, encoding="utf-8")
    (folder / "small.py").write_text('greeting = "Grüße"\n', encoding="utf-8")
    return folder


def test_it_is_measured_in_images_that_hold_its_copy(source: Path, tmp_path: Path) -> None:
    own = ("--app", "shop:make()", "--app-dir", str(source), "--app-env", "WHO=Ärger", "--paths", "/größe")
    short = ("--servers", "waitress", "--runner", "docker", "--workloads", "grosse")
    out = ("--profile", "smoke", "--budget", "3s", "--out", str(tmp_path / "run"))
    ended = gatebench(tmp_path, "run", *own, *short, *out)
    assert "shop:make() is WSGI" in ended.said
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    (subject,) = [each for each in run["subjects"] if not each.get("again")]
    assert subject["id"] == "waitress+shop_app"
    assert subject["image"]["name"].startswith("gatebench/waitress:")
    (learned,) = json.loads((tmp_path / "run" / "answers" / "answers.json").read_text())
    assert (tmp_path / "run" / "answers" / learned["sha256"]).read_text() == "<p>Grüße, Ärger!</p>"
    cells = json.loads((tmp_path / "run" / "summary.json").read_text())["cells"]
    assert [each["workload"] for each in cells] == ["grosse"]
    assert not any(cells[0]["errors"].values())
    assert cells[0]["requests"] > 0


def test_an_import_that_fails_in_its_container_is_told_with_the_folder_that_was_named(
    source: Path, tmp_path: Path
) -> None:
    (source / "broken.py").write_text("import shop\n\nraise RuntimeError('no database')\n")
    for app, told in (("broken:app", "RuntimeError: no database"), ("shopp:make()", "searched in")):
        arguments = ("--app", app, "--app-dir", str(source), "--runner", "docker", "--servers", "waitress")
        ended = gatebench(tmp_path, "run", *arguments, "--out", str(tmp_path / "run"))
        assert ended.status == 2
        assert told in ended.said
        assert str(source) in ended.said
        assert "/srv/own" not in ended.said
        assert not (tmp_path / "run").exists()
