"""The null responder, measured in the same rounds: what the instrument can do, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.figures.limits import limit_of
from analysis.figures.results import LevelResult
from analysis.figures.summary import summarize
from analysis.figures.summary_file import as_json
from analysis.reading.run import load_run
from tests.support.summaries import BY_ID, CLOSE, KEEP_ALIVE, QUIET
from tests.support.synthetic import STEADY, make_run
from tests.support.synthetic_model import Load, Truth

UVICORN = replace(
    BY_ID["uvicorn"], measures_cpu=False
)  # 12,000 requests/s; nobody knows how full its core is
WAITRESS = replace(BY_ID["waitress"], measures_cpu=False)  # 5,500


def responder(**rates: float) -> Truth:
    by_load = {name.replace("_", "-"): rate for name, rate in rates.items()}
    return Truth(
        "null-responder~limit", "null responder", "default", "wsgi", by_load, p99_us={"steady": 400.0}
    )


def levels(
    folder: Path, null: Truth | None, *subjects: Truth, loads: tuple[Load, ...] = (KEEP_ALIVE,), **more: Any
) -> tuple[LevelResult, ...]:
    made = make_run(folder / "run", QUIET, subjects or (UVICORN, WAITRESS), loads, responder=null, **more)
    return summarize(load_run(made)).levels


def died(block: int) -> dict[str, Any]:
    text = "the server was ended by SIGKILL"
    return {
        "block": block,
        "subject": "null-responder~limit",
        "workload": None,
        "level": None,
        "code": "died",
    } | {"text": text}


def test_the_null_responder_is_no_cell_and_in_no_comparison(tmp_path: Path) -> None:
    (without,) = levels(tmp_path / "without", None)
    (level,) = levels(tmp_path / "with", responder(keep_alive=60_000))

    assert [cell.subject for cell in level.cells] == ["uvicorn", "waitress"]
    assert [(pair.left, pair.right) for pair in level.comparisons] == [("uvicorn", "waitress")]
    assert (without.limit, without.rounds) == (None, level.rounds)


def test_its_rate_is_the_limit_of_the_instrument_in_the_same_rounds(tmp_path: Path) -> None:
    (level,) = levels(tmp_path, responder(keep_alive=60_000))

    limit = level.limit
    assert limit is not None
    assert (limit.status, limit.reasons, limit.blocks) == ("ok", (), 5)
    assert limit.rps is not None
    assert limit.rps.estimate == pytest.approx(60_000, rel=0.1)
    assert limit.rps.low is not None
    assert limit.latency_us["p99"] is not None


def test_a_figure_over_half_of_it_is_refused_where_the_server_is_not_shown_to_be_the_limit(
    tmp_path: Path,
) -> None:
    (level,) = levels(tmp_path, responder(keep_alive=20_000), UVICORN, WAITRESS)

    uvicorn, waitress = level.cells
    assert uvicorn.code == "ceiling"
    assert (
        "reached against a responder that does nothing in the same rounds (limit 50%)" in uvicorn.reasons[0]
    )
    assert waitress.lead_status == "ok"


def test_a_server_whose_core_is_full_is_not_held_against_it(tmp_path: Path) -> None:
    (level,) = levels(tmp_path, responder(keep_alive=13_000), BY_ID["uvicorn"], BY_ID["waitress"])

    assert {cell.lead_status for cell in level.cells} == {"ok"}


def test_a_responder_that_a_server_outdoes_refuses_nobody_and_says_so(tmp_path: Path) -> None:
    (level,) = levels(tmp_path, responder(keep_alive=8_000))

    assert {cell.lead_status for cell in level.cells} == {"ok"}
    assert level.limit is not None
    assert level.limit.reasons[0].startswith("outdone: ")


def test_it_counts_in_place_of_a_calibration(tmp_path: Path) -> None:
    calibrated = replace(KEEP_ALIVE, ceiling_per_s=15_000.0)
    (old,) = levels(tmp_path / "old", None, loads=(calibrated,))
    (new,) = levels(tmp_path / "new", responder(keep_alive=60_000), loads=(calibrated,))

    assert [cell.code for cell in old.cells if cell.lead_status != "ok"] == ["ceiling"]
    assert {cell.lead_status for cell in new.cells} == {"ok"}


def test_at_equal_rates_it_is_the_floor_of_the_response_times_and_refuses_nothing(tmp_path: Path) -> None:
    paced = [replace(BY_ID[name], rates={"steady": 9_000}) for name in ("uvicorn", "waitress")]
    (level,) = levels(tmp_path, responder(steady=50_000), *paced, loads=(STEADY,))

    assert {cell.lead_status for cell in level.cells} == {"ok"}
    assert level.limit is not None
    floor_us = level.limit.figure("p99")
    assert floor_us == pytest.approx(400, rel=0.1)
    fastest_us = min(cell.figure("p99") or 0.0 for cell in level.cells)
    assert fastest_us > 400 * 1.1


def test_a_level_that_it_does_not_answer_has_none(tmp_path: Path) -> None:
    known, unknown = levels(tmp_path, responder(keep_alive=60_000), loads=(KEEP_ALIVE, CLOSE))

    assert known.limit is not None
    assert unknown.limit is None


def test_a_death_is_told_and_the_other_blocks_count(tmp_path: Path) -> None:
    (level,) = levels(tmp_path, responder(keep_alive=20_000), failures=[died(3)])

    limit = level.limit
    assert limit is not None
    assert (limit.status, limit.blocks) == ("ok", 4)
    assert limit.reasons == ("died: block 4: the server was ended by SIGKILL",)
    assert [cell.code for cell in level.cells if cell.lead_status != "ok"] == ["ceiling"]


def test_one_that_never_answered_refuses_nobody(tmp_path: Path) -> None:
    null = responder(keep_alive=20_000)
    (level,) = levels(tmp_path, null, failures=[died(block) for block in range(QUIET.blocks)])

    assert {cell.lead_status for cell in level.cells} == {"ok"}
    assert level.limit is not None
    assert (level.limit.status, level.limit.rps) == ("failed", None)
    assert len(level.limit.reasons) == QUIET.blocks + 1


def test_its_wrong_answers_are_told(tmp_path: Path) -> None:
    null = replace(responder(keep_alive=60_000), errors={"keep-alive": {"body": 2}})
    (level,) = levels(tmp_path, null)

    assert level.limit is not None
    assert level.limit.reasons[0].startswith("errors: 100 of ")


def test_the_summary_has_it_under_a_key_of_its_own(tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", QUIET, [UVICORN], [KEEP_ALIVE], responder=responder(keep_alive=60_000))
    run = load_run(made)
    content = json.loads(json.dumps(as_json(summarize(run))))

    (limit,) = content["limits"]
    found = limit_of(run, run.meta.levels[0], [])
    assert found is not None
    assert found.rps is not None
    assert limit["rps"]["estimate"] == pytest.approx(found.rps.estimate)
    assert limit["rps"]["low"] < limit["rps"]["estimate"] < limit["rps"]["high"]
    assert set(limit["latency_us"]) == {"p50", "p90", "p99"}
    assert (limit["responder"], limit["status"]) == ("null responder", "ok")
    assert [row["subject"] for row in content["cells"]] == ["uvicorn"]
