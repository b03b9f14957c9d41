"""Whether a run may go on: everything must be as it was at its beginning."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from gatebench.registry.registry import load_registry
from gatebench.results.earlier import Earlier, differences
from gatebench.words.errors import ConfigurationError
from gatebench.words.paths import ROOT
from gatebench.words.plan import Turn

REGISTRY = load_registry(ROOT)
DESCRIPTION: dict[str, Any] = {
    "schema": 2,
    "run": "20261122T081500Z-1a2b3c",
    "started": "2026-11-22T08:15:00Z",
    "plan": {
        "blocks": 5,
        "levels": [
            {"workload": "keep-alive-ladder", "level": level, "rate_per_s": rate, "rounds": 2}
            for level, rate in (("cap25", 5000.0), ("cap50", 10000.0), ("cap75", 15000.0), ("cap90", None))
        ],
    },
    "cores": {"server": [1], "engine": [2, 3], "lab": [0]},
    "machine": {"kernel": "6.1.0", "load_average_1m": 0.1},
    "versions": {"locust": "2.43.0"},
    "load_image": {"id": "sha256:bb", "python": "3.13.5"},
    "hashes": {"engine": "aa", "apps/plain": "bb"},
    "notices": ["the requirements of mine are not pinned and hashed"],
    "subjects": [
        {"id": "uvicorn", "twin_of": None, "version": "0.51.0", "packages": {"uvicorn": "0.51.0"}},
        {"id": "uvicorn~again", "twin_of": "uvicorn", "version": "0.51.0", "packages": {}},
    ],
}


def earlier(description: dict[str, Any] = DESCRIPTION) -> Earlier:
    return Earlier(Path("results/one"), description, (Turn(3, frozenset({"close/c64"})),), {}, True)


def now(**changes: Any) -> dict[str, Any]:
    """What the run's description would be now: without its ID and schema, which are its folder's."""
    return {**{k: v for k, v in copy.deepcopy(DESCRIPTION).items() if k not in {"schema", "run"}}, **changes}


def test_a_run_goes_on_where_everything_is_as_it_was() -> None:
    later = now(started="2026-11-22T20:00:00Z", notices=[], command="gatebench resume")
    later["machine"]["load_average_1m"] = 3.0
    later["load_image"]["id"] = "sha256:cc"
    later["plan"]["levels"][0]["rounds"] = 1
    earlier().check(later)


def test_everything_that_differs_is_told_at_once_with_the_next_step() -> None:
    later = now(cores={"server": [1], "engine": [2], "lab": [0]})
    later["machine"]["kernel"] = "6.2.0"
    later["versions"]["locust"] = None
    later["load_image"]["python"] = "3.14.0"
    later["subjects"][0]["packages"]["uvicorn"] = "0.52.0"
    with pytest.raises(ConfigurationError) as refused:
        earlier().check(later)
    first, *others = str(refused.value).splitlines()
    assert "`gatebench reproduce results/one` measures it again" in first
    assert sorted(line.strip() for line in others) == [
        "cores.engine.1: was 3, is nothing",
        "load_image.python: was 3.13.5, is 3.14.0",
        "machine.kernel: was 6.1.0, is 6.2.0",
        "subjects.uvicorn.packages.uvicorn: was 0.51.0, is 0.52.0",
        "versions.locust: was 2.43.0, is nothing",
    ]


def test_a_fact_that_was_not_recorded_then_and_is_known_now_differs() -> None:
    assert list(differences({"hashes": {}}, {"hashes": {"engine": "aa"}})) == [
        "hashes.engine: was nothing, is aa"
    ]


def test_long_values_are_cut_short() -> None:
    (told,) = differences({"why": "x" * 200}, {"why": ["y"] * 200})
    assert len(told) < 150
    assert "…" in told


def test_a_ladder_keeps_the_rates_that_the_run_found_at_its_beginning() -> None:
    ladder, close = REGISTRY.workloads["keep-alive-ladder"], REGISTRY.workloads["close"]
    with_rates, untouched = earlier().workloads([ladder, close])
    assert [level.rate_per_s for level in with_rates.levels] == [5000.0, 10000.0, 15000.0, None]
    assert untouched == close


def test_the_subject_that_is_measured_twice_stays_the_same() -> None:
    subjects = REGISTRY.subjects()
    twin = earlier().twin(subjects)
    assert twin is not None
    assert (twin.id, twin.original_id) == ("uvicorn~again", "uvicorn")
    assert earlier().twin([each for each in subjects if each.id != "uvicorn"]) is None
    without = {**DESCRIPTION, "subjects": DESCRIPTION["subjects"][:1]}
    assert earlier(without).twin(subjects) is None
