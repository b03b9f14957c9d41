"""An application of one's own in one command: what is learned, held to and kept; nothing is left running."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.lab import Results, gatebench

SITE = """
import itertools

numbers = itertools.count(1)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [f"<p>Grüße, visit={next(numbers)}!</p>".encode()]
"""


def arguments(tmp_path: Path, *more: str) -> tuple[str, ...]:
    """The arguments of a short run of a site that counts its visits."""
    source = tmp_path / "site"
    source.mkdir()
    (source / "shop.py").write_text(SITE, encoding="utf-8")
    own = ("--app", "shop:application", "--app-dir", str(source), "--paths", "/grüße")
    short = (
        "--servers",
        "waitress",
        "--workloads",
        "gr-c3-bc-c3-9fe",
        "--profile",
        "smoke",
        "--budget",
        "3s",
    )
    return ("run", *own, *short, "--out", str(tmp_path / "run"), *more)


def test_an_answer_that_differs_each_time_is_shown_with_what_would_let_it_pass(tmp_path: Path) -> None:
    ended = gatebench(tmp_path, *arguments(tmp_path))
    assert ended.status == 1
    assert "shop:application is WSGI" in ended.said
    assert "it answers otherwise each time" in ended.said
    assert "visit=[^!]+'" in ended.said
    assert not (tmp_path / "run" / "run.json").exists()


def test_what_varies_may_vary_and_all_else_is_held_to_under_load(tmp_path: Path) -> None:
    gatebench(tmp_path, *arguments(tmp_path, "--varies", "visit=[0-9]+"))
    results = Results(tmp_path / "run")
    cell = results.cell("waitress+shop_app", "gr-c3-bc-c3-9fe")
    assert cell["requests"] > 0
    assert cell["errors"] == 0
    (learned,) = json.loads((tmp_path / "run" / "answers" / "answers.json").read_text())
    assert (learned["status"], learned["subjects"]) == (200, ["waitress+shop_app"])
    kept = (tmp_path / "run" / "answers" / learned["sha256"]).read_text(encoding="utf-8")
    assert kept.startswith("<p>Grüße, visit=")
    assert (tmp_path / "run" / "sources" / "own-apps" / "shop_app" / "source" / "shop.py").is_file()
