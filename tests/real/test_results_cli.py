"""What is done with finished runs: packed, repeated, compared, reported with claims of one's own."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from gatebench.results.bundle import SUFFIX
from tests.support.lab import MEASURED, OWN_FOLDERS, Results, gatebench, run_arguments

CLAIM = """
schema = 1

[claims.waitress-serves-wsgi]
text = "Waitress serves WSGI, says this test."
source = "this test"

[claims.waitress-serves-wsgi.conditions.serves]
kind = "serves"
servers = ["waitress"]
interface = "wsgi"
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of a server that does without the repository, with a claim of its own."""
    folder = tmp_path_factory.mktemp("original")
    out = folder / "run"
    claims = folder / "claims.toml"
    claims.write_text(CLAIM)
    arguments = run_arguments(out, "waitress", "steady-keep-alive")
    ended = gatebench(folder, *arguments, "--claims", str(claims))
    # The machine may leave so short a run without any figure, which is status 1.
    assert Results(out).events[-1]["outcome"] == "complete", ended.said
    return out


@pytest.fixture(scope="module")
def packed(original: Path) -> Path:
    ended = gatebench(original.parent, "bundle", str(original))
    assert ended.status == 0, ended.said
    file = original.with_name(original.name + SUFFIX)
    assert str(file) in ended.said.replace("\n", "")
    return file


def test_a_run_keeps_what_it_was_made_from(original: Path) -> None:
    kept = {
        path.relative_to(original / "sources").as_posix() for path in (original / "sources").rglob("*.toml")
    }
    assert {"servers/waitress/server.toml", "apps/contract.toml"} <= kept
    assert "loadtests/workloads/steady-keep-alive/workload.toml" in kept


def test_a_claim_of_ones_own_is_checked_beside_the_projects(original: Path) -> None:
    verdicts = {claim["id"]: claim["verdict"] for claim in Results(original).summary["claims"]}
    assert verdicts["waitress-serves-wsgi"] == "supported"
    assert verdicts["wsgi-waiting-blocks"] == "undecided"
    assert "Waitress serves WSGI, says this test" in (original / "report.html").read_text()


def test_a_bundle_is_small_and_names_no_folder_of_its_machine(packed: Path, original: Path) -> None:
    assert packed.stat().st_size < 1_000_000
    with zipfile.ZipFile(packed) as archive:
        texts = b"".join(archive.read(name) for name in ("run.json", "events.jsonl"))
    assert str(original.parent).encode() not in texts
    assert b"report.html" not in texts


def test_a_bundle_is_repeated_with_what_it_holds(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    ended = gatebench(tmp_path, "reproduce", str(packed), "--budget", "3s", "--out", str(out))
    assert ended.status in {0, 1}, ended.said
    assert "Traceback" not in ended.said
    for text in ("cannot be told", "Claims", "held"):
        assert text in ended.said
    first, again = (json.loads((folder / "run.json").read_text()) for folder in (packed.parent / "run", out))
    assert again["seed"] == first["seed"]
    assert again["hashes"] == first["hashes"]
    assert [each["id"] for each in again["subjects"]] == [each["id"] for each in first["subjects"]]
    assert {cell["status"] for cell in Results(out).summary["cells"]} <= MEASURED


def test_two_runs_of_too_few_blocks_are_not_called_a_regression(
    original: Path, packed: Path, tmp_path: Path
) -> None:
    ended = gatebench(tmp_path, "compare", str(original), str(packed))
    assert ended.status == 2
    assert "both folders hold the run" in ended.said


def test_what_is_no_run_cannot_be_repeated(tmp_path: Path) -> None:
    ended = gatebench(tmp_path, "reproduce", str(tmp_path / "nothing"))
    assert ended.status == 2
    assert "there is no such results folder or bundle" in ended.said


def test_a_claims_file_with_a_mistake_ends_a_run_before_it_starts(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(CLAIM.replace("servers =", "server ="))
    out = tmp_path / "run"
    ended = gatebench(
        tmp_path, "run", *OWN_FOLDERS, "--servers", "honest-wsgi", "--claims", str(file), "--out", str(out)
    )
    assert ended.status == 2
    assert "mine.toml" in ended.said
    assert not out.exists()
