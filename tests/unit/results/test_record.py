"""Raw results on the disk: whole or not at all."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gatebench.results.columns import Observed, histogram_rows
from gatebench.results.record import Record, RecordError, new_run_id, point_latest, write_atomically
from gatebench.results.schema import RunMeta
from gatebench.words.errors import ConfigurationError
from gatebench.words.paths import ROOT
from loadtests.engine.tally import SliceResult
from tests.support.plans import CELLS
from tests.support.slices import a_row, a_slice

PUBLISHED = ROOT / "docs" / "headline" / "run.json"


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    """A new results folder, `run`, that is being written."""
    with closing(Record.create(tmp_path / "run")) as record:
        yield record


def test_latencies_that_may_be_left_out_are_kept_apart_by_the_reason() -> None:
    plain = a_row(CELLS[0], 0, {100: 5})
    late = replace(plain, result=replace(plain.result, late={"response": {900: 2}, "lag": {800: 1}}))
    stolen = replace(late, observed=replace(late.observed, stolen=True))
    rows = [
        (row["clock"], row["latency_us"], row["count"], row["stolen"], row["late"])
        for row in histogram_rows([plain, late, stolen])
        if row["clock"] != "service"
    ]
    assert sorted(rows) == [
        ("lag", 800, 1, False, True),
        ("lag", 800, 1, True, True),
        ("response", 100, 5, True, False),
        ("response", 100, 10, False, False),
        ("response", 900, 2, False, True),
        ("response", 900, 2, True, True),
    ]
    assert (late.latency_count, late.latency_sum_us, late.values()["left_out"]) == (7, 2_300, 2)


@pytest.mark.parametrize(
    ("observed", "left_out", "disturbed"),
    [
        (Observed(), 20, False),
        (Observed(), 21, True),
        (Observed(shared=True), 0, True),
        (Observed(stolen=True), 0, True),
    ],
)
def test_a_search_learns_nothing_from_a_slice_that_tells_too_little_of_the_server(
    observed: Observed, left_out: int, *, disturbed: bool
) -> None:
    plain = a_row(CELLS[0], 0, {100: 100 - left_out})
    result = replace(plain.result, offered=100, late={"response": {900: left_out}})
    assert replace(plain, result=result, observed=observed).disturbed is disturbed


def test_what_was_flushed_is_one_table_that_pandas_reads(record: Record, tmp_path: Path) -> None:
    for number in range(3):
        record.add(a_row(CELLS[0], number, {100: 5}))
        record.flush()
    slices = pd.read_parquet(tmp_path / "run" / "slices.parquet")
    assert list(slices["round"]) == [0, 1, 2]
    assert slices["server_memory_mib"].isna().all()


def test_what_was_seen_of_a_container_is_written_and_a_process_has_nothing_there(
    record: Record, tmp_path: Path
) -> None:
    process = a_row(CELLS[0], 0, {100: 5})
    contained = replace(process, round_number=1, observed=Observed(throttled_s=0.0, memory_peak_mib=66.5))
    for row in (process, contained):
        record.add(row)
    record.flush()
    slices = pd.read_parquet(tmp_path / "run" / "slices.parquet").set_index("round")
    for column, value in (("throttled_s", 0.0), ("server_memory_peak_mib", 66.5)):
        assert slices[column].isna().tolist() == [True, False]
        assert slices.at[1, column] == value


def test_histograms_of_a_part_are_added_up_per_block_and_cell(record: Record, tmp_path: Path) -> None:
    record.add(a_row(CELLS[0], 0, {100: 5, 200: 1}))
    record.add(a_row(CELLS[0], 1, {100: 2}))
    record.flush()
    frame = pd.read_parquet(tmp_path / "run" / "histograms.parquet")
    for clock, expected in (("response", {100: 7, 200: 1}), ("service", {100: 2, 200: 1})):
        part = frame[frame["clock"] == clock]
        assert dict(zip(part["latency_us"], part["count"], strict=True)) == expected


def test_a_slice_without_a_single_latency_is_written_all_the_same(record: Record, tmp_path: Path) -> None:
    record.add(a_row(CELLS[0], 0, {}))
    record.flush()
    assert len(pd.read_parquet(tmp_path / "run" / "slices.parquet")) == 1
    assert pd.read_parquet(tmp_path / "run" / "histograms.parquet").empty


def test_a_slice_result_survives_its_way_between_processes() -> None:
    result = a_slice({100: 5, 250: 1})
    assert SliceResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="not empty"):
        Record.create(tmp_path)


def test_what_a_run_left_that_ended_before_its_plan_is_no_hindrance(tmp_path: Path) -> None:
    first = Record.create(tmp_path / "run")
    (first.logs / "load.log").write_text("of the first")
    first.event("notice")
    with pytest.raises(ConfigurationError, match="still going on"):
        Record.create(tmp_path / "run")
    first.close()

    second = Record.create(tmp_path / "run")
    assert not any(second.logs.iterdir())
    assert (tmp_path / "run" / "events.jsonl").read_bytes() == b""
    second.close()


@pytest.mark.parametrize("name", ["run.json", "slices.parquet/part-0.parquet", "mine.txt"])
def test_what_holds_a_plan_or_data_or_somebody_elses_files_is_not_taken_for_unused(
    tmp_path: Path, name: str
) -> None:
    Record.create(tmp_path / "run").close()
    (tmp_path / "run" / name).write_text("x")
    with pytest.raises(ConfigurationError, match="is not empty"):
        Record.create(tmp_path / "run")


def test_a_folder_of_logs_alone_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "run" / "logs").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="is not empty"):
        Record.create(tmp_path / "run")


def test_a_folder_that_cannot_be_made_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"cannot write results to .*Not a directory"):
        Record.create(tmp_path / "file" / "run")


def test_a_full_disk_keeps_the_earlier_parts_whole_and_the_rows_for_another_attempt(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.add(a_row(CELLS[0], 0, {100: 5}))
    record.flush()
    record.add(a_row(CELLS[0], 1, {100: 5}))

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("gatebench.results.record.os.fsync", full)
        with pytest.raises(RecordError, match=r"No space left on device.*free some space"):
            record.flush()
    assert len(pd.read_parquet(tmp_path / "run" / "slices.parquet")) == 1
    assert not list((tmp_path / "run").rglob("*.tmp"))
    record.flush()
    assert len(pd.read_parquet(tmp_path / "run" / "slices.parquet")) == 2
    frame = pd.read_parquet(tmp_path / "run" / "histograms.parquet")
    assert frame[frame["clock"] == "response"]["count"].sum() == 10


def test_events_are_lines_with_a_time_and_a_kind(record: Record, tmp_path: Path) -> None:
    record.event("block-started", block=0)
    record.event("failed", subject="daphne", text="two\nlines")
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert [event["kind"] for event in events] == ["block-started", "failed"]
    assert all(event["at"].endswith("Z") for event in events)


def test_latest_points_at_the_newest_run(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        point_latest(tmp_path / name)
    assert (tmp_path / "latest").resolve().name == "second"


def test_what_somebody_else_called_latest_stays(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "latest").write_text("precious")
    point_latest(tmp_path / "run")
    assert (tmp_path / "latest").read_text() == "precious"
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").symlink_to(tmp_path.parent)
    point_latest(tmp_path / "run")
    assert (tmp_path / "latest").readlink() == tmp_path.parent


def test_run_ids_sort_by_time_and_differ() -> None:
    assert new_run_id() != new_run_id()
    assert new_run_id()[8] == "T"


def test_an_atomic_write_replaces_the_file_whole(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"first")
    write_atomically(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("place", [0.3, 0.5])
def test_a_flipped_bit_in_a_part_is_found_when_it_is_read(
    record: Record, tmp_path: Path, place: float
) -> None:
    record.add(a_row(CELLS[0], 0, {latency: 1 + latency % 7 for latency in range(5000)}))
    record.flush()
    part = next((tmp_path / "run" / "histograms.parquet").iterdir())
    data = bytearray(part.read_bytes())
    data[int(len(data) * place)] ^= 1
    part.write_bytes(data)
    with pytest.raises((OSError, pa.ArrowException)):
        pq.ParquetFile(part, page_checksum_verification=True).read()


def test_a_folder_that_is_taken_up_again_gets_parts_and_events_after_those_it_has(
    record: Record, tmp_path: Path
) -> None:
    record.event("block-started", block=0)
    record.add(a_row(CELLS[0], 0, {100: 5}))
    record.flush()
    record.close()
    with closing(Record.reopen(tmp_path / "run")) as again:
        again.add(a_row(CELLS[0], 1, {100: 5}))
        again.flush()
        again.event("resumed", block=1)
    assert sorted(path.name for path in (tmp_path / "run" / "slices.parquet").iterdir()) == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    assert list(pd.read_parquet(tmp_path / "run" / "slices.parquet")["round"]) == [0, 1]
    lines = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["block-started", "resumed"]


@pytest.mark.parametrize("whole", ["", '{"kind": "block-started"}\n'])
def test_what_a_cut_off_write_left_behind_does_not_stand_in_the_way(
    record: Record, tmp_path: Path, whole: str
) -> None:
    record.close()
    run = tmp_path / "run"
    (run / "events.jsonl").write_text(whole + '{"at": "20')
    torn, orphan = run / "slices.parquet" / ".part-00000.parquet.tmp", "histograms.parquet/part-00000.parquet"
    torn.write_bytes(b"PAR1")
    (run / orphan).write_bytes(b"its slices were never written")
    with closing(Record.reopen(run)) as again:
        again.add(a_row(CELLS[0], 0, {100: 5}))
        again.flush()
        again.event("resumed", block=1)
    assert not torn.exists()
    assert pq.read_table(run / orphan).num_rows == 2
    lines = (run / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["block-started", "resumed"][not whole :]


@pytest.mark.usefixtures("record")
def test_a_folder_that_is_being_written_is_not_taken_up_by_another(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="this run is still going on"):
        Record.reopen(tmp_path / "run")


def test_a_folder_that_cannot_be_written_to_is_not_taken_up(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot write to {tmp_path / 'absent'}"):
        Record.reopen(tmp_path / "absent")


def test_the_folder_of_a_run_that_was_refused_goes_and_one_with_a_plan_stays(tmp_path: Path) -> None:
    refused = Record.create(tmp_path / "refused")
    (refused.logs / "load.log").write_text("nothing came of it")
    refused.discard()
    assert not refused.folder.exists()
    planned = Record.create(tmp_path / "planned")
    planned.write_run(RunMeta.model_validate_json(PUBLISHED.read_text()))
    planned.discard()
    assert (planned.folder / "run.json").exists()
