"""Calibration: what is measured, when it was disturbed, and what is said of the figures."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gatebench.cli.subjects import ceilings_table, size_text, table_probes
from gatebench.contract.file import load_contract
from gatebench.load.calibration import (
    Ceiling,
    is_disturbed,
)
from gatebench.machine.cores import Cores

CONTRACT = load_contract()
PROBES = table_probes(CONTRACT)
EXAMPLE = Ceiling(
    workload="keep-alive",
    level="c64",
    connections=64,
    rates_per_s=(90.0, 110.0, 300.0),
    mib_per_s=1.5,
    engine_busy_share=0.9,
    responder_cpu_share=0.5,
)


@pytest.mark.parametrize(
    ("engine", "responder", "limit"),
    [(0.9, 0.5, "engine"), (0.5, 0.9, "responder"), (0.9, 1.0, "both"), (0.5, 0.5, "neither")],
)
def test_the_limit_is_the_side_that_has_no_time_left(engine: float, responder: float, limit: str) -> None:
    assert EXAMPLE.replaced(engine_busy_share=engine, responder_cpu_share=responder).limit == limit


def test_the_table_shows_figures_with_their_limit() -> None:
    output = io.StringIO()
    table = ceilings_table([EXAMPLE], Cores(server=(3,), engine=(1, 2), lab=(0,)))
    Console(file=output, width=200).print(table)
    assert "core 1, 2 against the null responder on core 3" in output.getvalue()
    for text in ("300", "90", "90%", "50%", "engine"):
        assert text in output.getvalue()


def test_the_table_says_where_others_disturbed_a_calibration() -> None:
    output = io.StringIO()
    table = ceilings_table([EXAMPLE.replaced(disturbed=True)], Cores(server=(3,), engine=(2,), lab=(0,)))
    Console(file=output, width=200).print(table)
    assert "unknown: disturbed" in output.getvalue()


def test_every_transport_is_measured_with_small_and_with_large_bodies() -> None:
    sizes = {(each.workload, each.level.rpartition(" ")[2]) for each in PROBES}
    assert sizes == {
        (name, unit) for name in ("keep-alive", "close", "websocket") for unit in ("B", "KiB", "MiB")
    }
    uploads = [each.target for each in PROBES if each.target.method == "POST"]
    assert [len(target.body) for target in uploads] == [65_536, 1_048_576]
    assert all(target.body == target.answer for target in uploads)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (13, "13 B"), (1025, "1,025 B"), (65_536, "64 KiB"), (1 << 21, "2 MiB")]
)
def test_a_size_is_told_in_whole_units(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("rates_per_s", "shared", "disturbed"),
    [
        ([50_000, 52_000], [False, False], False),
        ([4_000, 51_000, 9_000, 50_000], [True, False, True, False], False),
        ([4_043, 50_000, 4_100], [False, False, False], True),  # who knows what a third would have done
        ([50_000, 51_000, 52_000], [True, True, False], True),
        ([50_000], [False], True),
        ([], [], True),
    ],
)
def test_a_calibration_is_disturbed_where_no_two_undisturbed_slices_agree_on_the_best(
    rates_per_s: list[float], shared: list[bool], *, disturbed: bool
) -> None:
    assert is_disturbed(rates_per_s, shared) is disturbed


def test_a_ceiling_is_the_best_slice() -> None:
    assert EXAMPLE.replaced(rates_per_s=(4_043.0, 50_000.0, 49_000.0)).rate_per_s == 50_000
