"""What tests of every kind may ask for."""

from __future__ import annotations

import hypothesis
import pytest

# How long an example takes is no matter here.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def container_engine() -> None:
    """A Docker engine; skips, with the reason, where none can be used."""
    # The SDK is slow to import, and most tests do without.
    from tests.support.engine import engine_found  # noqa: PLC0415

    if reason := engine_found().absent:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def local_container_engine() -> None:
    """A Docker engine whose socket is on this machine; skips, with the reason, where there is none."""
    from tests.support.engine import engine_found  # noqa: PLC0415 - as above

    if reason := engine_found().elsewhere:
        pytest.skip(reason)
