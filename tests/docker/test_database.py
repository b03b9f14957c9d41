"""A database in a container: a service like the others, measured in each slice, gone with the run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

from gatebench.runners.docker.database import SERVICE
from tests.support.lab import Ended, Results, blamed, gatebench
from tests.support.witness import label_of, left_over

SUBJECT, BROKEN = "waitress+psycopg", "waitress+unready"
UNREADY = """\
requires = ["database"]
routes = ["/db/update/{n}"]
prepare = ["python", "-c", "print('no such migration'); raise SystemExit(3)"]
"""


@dataclass(frozen=True)
class Stored:
    """A run of an application with a database, beside one that cannot be prepared."""

    ended: Ended
    results: Results
    left: list[str]

    @property
    def slices(self) -> pd.DataFrame:
        """The raw slices of the subject."""
        every = pd.read_parquet(self.results.folder / "slices.parquet")
        return every[every["subject"] == SUBJECT]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("stored")
    unready = folder / "apps" / "unready"
    unready.mkdir(parents=True)
    (unready / "app.toml").write_text(UNREADY)
    (unready / "wsgi.py").write_text("app = None\n")
    results = Results(folder / "run")
    ended = gatebench(
        folder,
        *("run", "--runner", "docker", "--profile", "smoke", "--budget", "5s", "--out", str(results.folder)),
        *("--servers", "waitress", "--apps-dir", str(folder / "apps"), "--apps", "psycopg unready"),
        *("--workloads", "db-update"),
    )
    return Stored(ended, results, left_over(label_of(results.folder)))


def test_an_application_is_measured_with_a_database_and_nothing_is_left_of_it(run: Stored) -> None:
    cell = run.results.cell(SUBJECT, "db-update")
    assert blamed(cell) == set(), (cell["reasons"], run.ended.said)
    assert cell["requests"] > 0
    assert set(cell["errors"].values()) == {0}
    assert run.left == []


def test_the_time_of_the_database_is_read_in_each_slice(run: Stored) -> None:
    assert (run.slices["database_cpu_s"] > 0).all()
    assert (run.slices["database_cpu_s"] <= 1.1 * run.slices["database_core_s"]).all()


def test_a_run_says_which_database_it_had(run: Stored) -> None:
    said: dict[str, Any] = json.loads((run.results.folder / "run.json").read_text())
    assert said["database"]["version"].split(".")[0].isdigit()
    assert said["database"]["cores"] == said["cores"]["lab"]
    assert said["database"]["settings"]["fsync"] == "off"


def test_its_container_has_what_every_container_has_and_nothing_mounted(run: Stored) -> None:
    texts = [file.read_text() for file in run.results.folder.glob("logs/compose-*.yml")]
    (text,) = (text for text in texts if f"  {SERVICE}:\n" in text)
    service = text.partition(f"  {SERVICE}:\n")[2]
    assert service.startswith("    <<: *hardening\n")
    assert not {"user", "read_only", "cap_drop", "security_opt", "volumes", "ports"} & {
        line.strip().partition(":")[0] for line in service.splitlines()
    }


def test_a_preparation_that_fails_is_the_reason_of_its_own_subjects_alone(run: Stored) -> None:
    cell = run.results.cell(BROKEN, "db-update")
    assert cell["status"] == "failed"
    assert "failed with status 3:\nno such migration" in "\n".join(cell["reasons"])
