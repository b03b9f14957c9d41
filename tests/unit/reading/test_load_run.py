"""Loading raw results: complete, cut off in the middle, damaged, or of an unknown schema."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.reading.run import load_run
from analysis.reading.tables import typed
from gatebench.results.columns import HISTOGRAMS, SLICES, Column, missing_before
from gatebench.words.errors import GatebenchError
from gatebench.words.model import Level
from gatebench.words.paths import ROOT
from tests.support.summaries import all_rows
from tests.support.synthetic import BROADCAST, IDLE, LOADS, SEARCH, STEADY, SUBJECTS, VISIT, make_run
from tests.support.synthetic_model import Plan

LATER = missing_before(SLICES, 2)
"""Columns that came within schema 2."""


def names(columns: Iterable[Column]) -> list[str]:
    return [column.name for column in columns]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", Plan(blocks=2, rounds=3), SUBJECTS[:2], LOADS[:2])


def edit_run_json(folder: Path, **changes: Any) -> None:
    data = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(data | changes))


def test_a_complete_run_loads_with_every_column_and_every_part(folder: Path) -> None:
    run = load_run(folder)

    assert list(run.slices.columns) == names(SLICES)
    assert list(all_rows(run.histograms).columns) == names(HISTOGRAMS)
    assert run.slices["block"].unique().tolist() == [0, 1]
    assert run.finished_blocks == (0, 1)
    assert run.ending is not None
    assert run.argv["gunicorn-sync"][0].endswith("bin/gunicorn")
    assert run.meta.subject("gunicorn-sync").interface == "wsgi"


def test_a_torn_last_line_is_left_out(folder: Path) -> None:
    whole = len(load_run(folder).events)
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"at": "2026-11-22T08:1')

    assert len(load_run(folder).events) == whole


def test_a_torn_line_in_the_middle_is_refused_with_its_number(folder: Path) -> None:
    lines = (folder / "events.jsonl").read_text().splitlines()
    lines[1] = lines[1][:10]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")

    with pytest.raises(GatebenchError, match=r"events\.jsonl: line 2 is damaged"):
        load_run(folder)


def test_a_run_cut_off_before_its_first_slice_loads_empty(folder: Path) -> None:
    for file in (*(folder / "slices.parquet").iterdir(), *(folder / "histograms.parquet").iterdir()):
        file.unlink()
    (folder / "events.jsonl").write_text('{"at": "…", "kind": "block-started", "block": 0}\n')

    run = load_run(folder)

    assert run.slices.empty
    assert run.ending is None


def test_a_run_that_goes_on_again_has_no_ending_until_it_has_ended_again(folder: Path) -> None:
    events = folder / "events.jsonl"
    with events.open("a") as file:
        file.write('{"at": "2026-11-22T09:00:00Z", "kind": "resumed", "block": 2, "notices": []}\n')

    going_on = load_run(folder)
    with events.open("a") as file:
        file.write('{"at": "2026-11-22T09:05:00Z", "kind": "finished", "outcome": "interrupted"}\n')

    assert going_on.ending is None
    assert [event["block"] for event in going_on.resumptions] == [2]
    assert load_run(folder).ending == {
        "at": "2026-11-22T09:05:00Z",
        "kind": "finished",
        "outcome": "interrupted",
    }


def test_a_finished_block_without_slices_is_refused(folder: Path) -> None:
    for file in (folder / "slices.parquet").iterdir():
        file.unlink()

    with pytest.raises(GatebenchError, match="holds no slices of block 1, which was finished"):
        load_run(folder)


@pytest.mark.parametrize("name", ["part-0009.parquet.tmp", ".part-0009.parquet", "_part-0009.parquet"])
def test_temporary_files_are_ignored(folder: Path, name: str) -> None:
    before = len(load_run(folder).slices)
    (folder / "slices.parquet" / name).write_bytes(b"PAR1 and then the power went")

    assert len(load_run(folder).slices) == before


def test_a_corrupt_part_is_refused_by_name(folder: Path) -> None:
    part = folder / "slices.parquet" / "part-0001.parquet"
    part.write_bytes(part.read_bytes()[:-100])

    with pytest.raises(GatebenchError, match=r"part-0001\.parquet: damaged"):
        load_run(folder)


def test_a_part_without_a_column_is_refused_with_the_columns_name(folder: Path) -> None:
    part = folder / "histograms.parquet" / "part-0000.parquet"
    pd.read_parquet(part).drop(columns="count").to_parquet(part)

    with pytest.raises(GatebenchError, match=r"part-0000\.parquet: the columns count are missing"):
        load_run(folder)


def test_a_part_with_text_for_numbers_is_refused(folder: Path) -> None:
    part = folder / "slices.parquet" / "part-0000.parquet"
    pd.read_parquet(part).assign(completed="many").to_parquet(part)

    with pytest.raises(GatebenchError, match=r"part-0000\.parquet: a column has the wrong type"):
        load_run(folder)


@pytest.mark.parametrize("column", ["latency_us", "count"])
def test_latencies_that_are_no_whole_numbers_are_refused(folder: Path, column: str) -> None:
    part = folder / "histograms.parquet" / "part-0001.parquet"
    pd.read_parquet(part).assign(**{column: "1"}).to_parquet(part)

    with pytest.raises(GatebenchError, match=rf"part-0001\.parquet: a column has the wrong type \({column}"):
        load_run(folder)


def test_latencies_are_read_by_level_from_parts_that_hold_several(folder: Path) -> None:
    histograms = load_run(folder).histograms
    rows = all_rows(histograms)

    for level in {("keep-alive", "c64"), ("close", "c64")}:
        of_level = rows[(rows["workload"] == level[0]) & (rows["level"] == level[1])]
        assert 0 < len(of_level) < len(rows)
        assert histograms.of_level(*level).equals(of_level.reset_index(drop=True))
    assert list(histograms.of_level("wait", "c64").columns) == names(HISTOGRAMS)
    assert histograms.of_level("wait", "c64").empty


def test_subjects_have_the_order_of_the_run_whatever_order_a_part_has_them_in() -> None:
    # To pandas the same categories in another order are the same type, and charts are drawn in their order.
    part = pd.DataFrame({"subject": pd.Categorical(["b", "a"], ["b", "a"])})
    found = typed(Path("part"), part, {"subject": pd.CategoricalDtype(["a", "b"])})
    assert list(found["subject"].cat.categories) == ["a", "b"]
    assert list(found["subject"]) == ["b", "a"]


def test_the_same_slice_twice_is_refused(folder: Path) -> None:
    part = (folder / "slices.parquet" / "part-0000.parquet").read_bytes()
    (folder / "slices.parquet" / "part-0007.parquet").write_bytes(part)

    with pytest.raises(GatebenchError, match="two slices of one cell in the same round"):
        load_run(folder)


def test_an_unknown_schema_is_refused_with_what_to_do(folder: Path) -> None:
    edit_run_json(folder, schema=3)

    with pytest.raises(GatebenchError, match=r"run\.json: schema 3 is unknown.*version that made the run"):
        load_run(folder)


@pytest.mark.parametrize("name", ["run.json", "events.jsonl"])
def test_a_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(GatebenchError, match=name):
        load_run(folder)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GatebenchError, match="is no results folder"):
        load_run(tmp_path / "none")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "seven"}, "`seed` has the wrong type str"),
        ({"seed": True}, "`seed` has the wrong type bool"),
        ({"plan": {"blocks": 5}}, "`plan.levels` is missing"),
        ({"subjects": [{"id": "x"}]}, r"`subjects\[0\]\.server` is missing"),
        ({"workloads": ["x"]}, r"`workloads\[0\]` is not an object"),
        ({"engine": "Docker"}, "`engine` is not an object, but has the type str"),
        ({"engine": {"cgroup": 1}}, r"`engine\.cgroup` has the wrong type int"),
        ({"engine": {"remote": "no"}}, r"`engine\.remote` has the wrong type str"),
        ({"limits": {"pids": "many"}}, r"`limits\.pids` has the wrong type str"),
        ({"network": 1}, "`network` has the wrong type int"),
        ({"load_image": {"size_mib": "1"}}, r"`load_image\.size_mib` has the wrong type str"),
    ],
)
def test_a_wrong_value_in_run_json_is_refused_with_its_key(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    edit_run_json(folder, **changes)

    with pytest.raises(GatebenchError, match=message):
        load_run(folder)


def test_a_run_json_that_is_not_json_is_refused(folder: Path) -> None:
    (folder / "run.json").write_text("{")

    with pytest.raises(GatebenchError, match=r"run\.json: not valid JSON"):
        load_run(folder)


def test_a_histogram_whose_slices_were_never_written_is_left_out(folder: Path) -> None:
    before = all_rows(load_run(folder).histograms)["count"].sum()
    part = next((folder / "histograms.parquet").glob("*.parquet"))
    part.with_name("part-99999.parquet").write_bytes(part.read_bytes())

    assert all_rows(load_run(folder).histograms)["count"].sum() == before


def test_histograms_that_hold_other_latencies_than_the_slices_counted_are_refused(folder: Path) -> None:
    part = next((folder / "histograms.parquet").glob("*.parquet"))
    frame = pd.read_parquet(part)
    frame["count"] += frame.index == 0
    frame.to_parquet(part)

    with pytest.raises(GatebenchError, match="hold 1 latencies more than the slices"):
        load_run(folder)


def test_an_event_without_what_it_must_say_is_refused_with_its_line(folder: Path) -> None:
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"kind": "failed"}\n')

    with pytest.raises(GatebenchError, match=r"events\.jsonl: line \d+ is not an event"):
        load_run(folder)


def test_a_part_in_the_middle_without_its_slices_is_refused(folder: Path) -> None:
    (folder / "slices.parquet" / "part-0000.parquet").unlink()

    with pytest.raises(GatebenchError, match=r"part-0000\.parquet: the slices of the same part are missing"):
        load_run(folder)


def test_a_finished_block_without_any_raw_data_is_refused(folder: Path) -> None:
    for table in ("slices.parquet", "histograms.parquet"):
        (folder / table / "part-0001.parquet").unlink()

    with pytest.raises(GatebenchError, match="holds no slices of block 2, which was finished"):
        load_run(folder)


def test_a_run_of_schema_1_is_still_read_as_closed_loops(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Plan(blocks=2, rounds=3, schema=1), SUBJECTS[:2], LOADS[:2])

    run = load_run(folder)

    assert list(run.slices.columns) == names(SLICES)
    assert set(all_rows(run.histograms)["clock"]) == {"response"}
    assert {plan.model for plan in run.meta.levels} == {"closed"}


@pytest.mark.parametrize("name", ["headline", "loops", "exclusive/alone", "exclusive/together"])
def test_a_published_run_is_still_read(name: str) -> None:
    run = load_run(ROOT / "docs" / name)

    assert run.meta.schema_ in {1, 2}
    assert not run.slices.empty


def test_a_part_in_several_row_groups_is_read_as_one_in_one(folder: Path) -> None:
    before = load_run(folder)
    for name in ("slices.parquet", "histograms.parquet"):
        for part in (folder / name).iterdir():
            pd.read_parquet(part).to_parquet(part, row_group_size=7)

    again = load_run(folder)

    pd.testing.assert_frame_equal(all_rows(again.histograms), all_rows(before.histograms))
    pd.testing.assert_frame_equal(again.slices, before.slices)


def test_a_run_from_before_containers_has_nothing_in_their_columns(folder: Path) -> None:
    for part in (folder / "slices.parquet").iterdir():
        pd.read_parquet(part).drop(columns=list(LATER), errors="ignore").to_parquet(part)

    run = load_run(folder)

    assert list(run.slices.columns) == names(SLICES)
    assert run.slices[["throttled_s", "server_memory_peak_mib", "others_s"]].isna().all(axis=None)
    assert (run.slices[["pause_variance", "left_out"]] == 0).all(axis=None)
    assert set(run.slices["others"]) == {""}
    assert set(run.slices["shared"]) == {False}
    assert (run.meta.in_containers, run.meta.engine, run.meta.limits) == (False, None, None)
    assert (run.meta.network, run.meta.load_image, run.meta.subjects[0].image) == ("", None, None)


def test_every_kind_of_load_is_read_with_what_the_plan_asked_of_it(tmp_path: Path) -> None:
    loads = [STEADY, SEARCH, IDLE, BROADCAST, VISIT]
    everything = replace(SUBJECTS[8], rates={load.name: 100.0 for load in loads})

    run = load_run(make_run(tmp_path / "run", Plan(blocks=1, rounds=3), [everything], loads))

    assert [plan.load for plan in run.meta.levels] == [
        "2,000 requests/s over 64 connections",
        "p99 within 10 ms over 64 connections",
        "up to 4,000 idle connections",
        "64 connections",
        "16 Locust users",
    ]
    assert run.meta.workload("websocket-idle").steps == IDLE.steps
    assert set(all_rows(run.histograms)["clock"]) == {"response", "service", "lag", "last"}


def test_a_part_of_schema_2_without_a_clock_is_refused(folder: Path) -> None:
    part = folder / "histograms.parquet" / "part-0000.parquet"
    pd.read_parquet(part).drop(columns="clock").to_parquet(part)

    with pytest.raises(GatebenchError, match=r"part-0000\.parquet: the columns clock are missing"):
        load_run(folder)


def test_a_finished_run_in_which_nothing_could_be_measured_loads_empty(tmp_path: Path) -> None:
    step = replace(STEADY, level=Level(64, "ladder", capacity_share=0.75))  # its reference failed: no rate
    plain = replace(SUBJECTS[8], rates={"steady": 100.0})
    made = make_run(tmp_path / "run", Plan(blocks=1, rounds=3), [plain], [step])
    for file in (*(made / "slices.parquet").iterdir(), *(made / "histograms.parquet").iterdir()):
        file.unlink()

    assert load_run(made).slices.empty
