"""What holds for tests of every kind."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# How long an example takes is no matter here.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

# Options that somebody has set for the command are not the tests'.
for variable in [name for name in os.environ if name.startswith("GATEBENCH_")]:
    del os.environ[variable]

FOLDERS = {Path(__file__).parent / kind: kind for kind in ("real", "docker", "browser")}
"""What the tests of a folder need; each is marked with it."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks a test by its folder, before tests are chosen by their marks."""
    for folder, kind in FOLDERS.items():
        if folder in item.path.parents:
            item.add_marker(kind)
