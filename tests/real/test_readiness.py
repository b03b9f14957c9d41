"""A server that serves something else than the application."""

from __future__ import annotations

from pathlib import Path

from tests.support.lab import gatebench

OF_ITS_OWN = """
homepage = "https://example.org/"
[variants.default]
interface = "wsgi"
supports = ["close"]
command = ["python", "-m", "http.server", "--bind", "{host}", "{port}"]
"""


def test_a_server_that_serves_something_else_is_told_every_route_that_differs(tmp_path: Path) -> None:
    folder = tmp_path / "servers" / "other"
    folder.mkdir(parents=True)
    (folder / "server.toml").write_text(OF_ITS_OWN)
    (folder / "requirements.txt").write_text("# of Python's own\n")
    ended = gatebench(tmp_path, "verify", "--servers-dir", str(folder.parent), "--servers", "other")
    assert ended.status == 1
    assert "differs" in ended.said
    assert "GET /plaintext:" in ended.said
    assert "GET /json" in ended.said
    assert "was not ready" not in ended.said
