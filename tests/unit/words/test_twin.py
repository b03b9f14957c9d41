"""Choosing the subject that a run measures twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from gatebench.registry.registry import load_registry
from gatebench.runners.docker.services import service_name
from gatebench.words.paths import ROOT
from gatebench.words.plan import choose_twin

REGISTRY = load_registry(ROOT)
SUBJECTS = REGISTRY.subjects()
STANDARD = [each for each in REGISTRY.workloads.values() if "standard" in each.profiles]


def test_a_twin_is_the_same_subject_under_an_id_of_its_own() -> None:
    twin = choose_twin(SUBJECTS, STANDARD, 5, seed=1)
    assert twin is not None
    assert twin.again
    assert replace(twin, again=False) in SUBJECTS
    assert twin.id == f"{twin.original_id}~again"
    assert twin.id not in {subject.id for subject in SUBJECTS}


def test_a_twin_takes_part_in_every_level_that_any_subject_does() -> None:
    for seed in range(50):
        twin = choose_twin(SUBJECTS, STANDARD, 5, seed)
        assert twin is not None
        assert {"close", "keep-alive", "websocket"} <= twin.variant.supports
        assert not twin.variant.tuned


def test_the_seed_chooses_so_that_no_server_always_stands_for_the_noise() -> None:
    chosen = Counter(twin.id for seed in range(200) if (twin := choose_twin(SUBJECTS, STANDARD, 5, seed)))
    assert len(chosen) > 3
    assert choose_twin(SUBJECTS, STANDARD, 5, 7) == choose_twin(SUBJECTS, STANDARD, 5, 7)


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_run_that_compares_nothing_has_no_twin(blocks: int) -> None:
    assert choose_twin(SUBJECTS, STANDARD, blocks, seed=1) is None


def test_a_run_of_one_subject_has_no_twin() -> None:
    assert choose_twin(SUBJECTS[:1], STANDARD, 5, seed=1) is None


def test_subjects_without_a_measurable_level_have_no_twin() -> None:
    sync = [each for each in SUBJECTS if each.variant.interface == "wsgi"]
    sockets = [each for each in STANDARD if each.transport == "websocket"]
    assert choose_twin(sync, sockets, 5, seed=1) is None


def test_a_twins_service_has_a_name_that_compose_allows() -> None:
    assert service_name("uvicorn~again") == "uvicorn__again"
