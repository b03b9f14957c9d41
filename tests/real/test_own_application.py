"""An application of one's own in one command: what is said where answers differ; nothing is left running."""

from __future__ import annotations

from pathlib import Path

from tests.support.lab import gatebench

SITE = """
import itertools

numbers = itertools.count(1)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [f"<p>Grüße, visit={next(numbers)}!</p>".encode()]
"""


def arguments(tmp_path: Path) -> tuple[str, ...]:
    """The arguments of a short run of a site that counts its visits."""
    source = tmp_path / "site"
    source.mkdir()
    (source / "shop.py").write_text(SITE, encoding="utf-8")
    own = ("--app", "shop:application", "--app-dir", str(source), "--paths", "/grüße")
    short = (
        "--servers",
        "waitress",
        "--workloads",
        "grusse",
        "--profile",
        "smoke",
        "--budget",
        "3s",
    )
    return ("run", *own, *short, "--out", str(tmp_path / "run"))


def test_an_answer_that_differs_each_time_is_shown_with_what_would_let_it_pass(tmp_path: Path) -> None:
    ended = gatebench(tmp_path, *arguments(tmp_path))
    assert ended.status == 1
    assert "shop:application is WSGI" in ended.said
    assert "it answers otherwise each time" in ended.said
    assert "visit=[^!]+'" in ended.said
    assert "GET /grüße: workloads grusse (closed loop)" in ended.said
    assert not (tmp_path / "run").exists()
