"""A shipped server installs from the package index, with its hashes."""

from __future__ import annotations

from pathlib import Path

from gatebench.runners.process.environments import Environment, Wanted, prepare
from tests.support.plans import REGISTRY


def test_a_shipped_server_installs_with_its_hashes(tmp_path: Path) -> None:
    made = prepare([Wanted(REGISTRY.servers["waitress"])], tmp_path, report=lambda _: None)["waitress"]
    assert isinstance(made, Environment), made
    assert (made.bin / "waitress-serve").exists()
    assert "waitress" in made.packages
