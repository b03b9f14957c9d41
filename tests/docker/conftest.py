"""The container engine of the tests in this folder."""

from __future__ import annotations

import pytest

from tests.support.engine import engine_found


@pytest.fixture(scope="session", autouse=True)
def container_engine() -> None:
    """A Docker engine; skips, with the reason, where none can be used."""
    if reason := engine_found().absent:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def local_container_engine() -> None:
    """A Docker engine whose socket is on this machine; skips, with the reason, where there is none."""
    if reason := engine_found().elsewhere:
        pytest.skip(reason)
