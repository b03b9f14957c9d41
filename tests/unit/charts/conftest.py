"""The runs of which the tests in this folder draw charts."""

from __future__ import annotations

import pytest

from tests.support.charts import Views


@pytest.fixture(scope="session")
def views(tmp_path_factory: pytest.TempPathFactory) -> Views:
    """Views that tests share."""
    return Views(tmp_path_factory.mktemp("views"))
