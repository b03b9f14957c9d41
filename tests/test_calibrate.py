"""Calibration: the real load process against the real null responder, and what is said of the figures."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from gatebench.cli.subjects import ceilings_table, size_text, table_probes
from gatebench.contract.file import load_contract
from gatebench.load.backend import Responder
from gatebench.load.calibration import (
    MOST_SLICES,
    Ceiling,
    Probe,
    calibrate,
    is_disturbed,
    null_responder,
)
from gatebench.load.process import LoadProcess, local_load
from gatebench.machine.cores import Cores, available_cores, divide
from gatebench.machine.processes import Owner, marked_processes
from gatebench.results.schema import NULL_RESPONDER
from gatebench.words.errors import GatebenchError
from loadtests.engine.protocol import Target, Transport

ABSENT_CORE = 1 << 20
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


def probe(transport: Transport) -> Probe:
    return replace(next(each for each in PROBES if each.workload == transport), connections=4)


@pytest.fixture(scope="module")
def cores() -> Cores:
    return divide(available_cores())


@pytest.fixture(scope="module")
def load(cores: Cores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadProcess]:
    log = tmp_path_factory.mktemp("load") / "load.log"
    with local_load(cores=cores, owner=Owner.this(), log=log) as process:
        process.hello()
        yield process


@contextmanager
def responding(cores: Cores, folder: Path) -> Iterator[Callable[[Target], Responder]]:
    with null_responder(core=cores.server[0], owner=Owner.this(), log=folder / "null.log") as responder:
        yield lambda _: responder


def own_processes() -> set[int]:
    return {pid for pid, owner in marked_processes().items() if owner == Owner.this()}


@pytest.mark.real
def test_a_ceiling_is_found_for_every_transport_and_nothing_is_left(
    load: LoadProcess, cores: Cores, tmp_path: Path
) -> None:
    before = own_processes()
    probes = [probe("keep-alive"), probe("close"), probe("websocket")]
    with responding(cores, tmp_path) as responder_of:
        ceilings = calibrate(load, probes, responder_of, slices=2, window_s=0.05)
    assert [(each.workload, each.level) for each in ceilings] == [
        (each.workload, each.level) for each in probes
    ]
    for ceiling in ceilings:
        assert 2 <= len(ceiling.rates_per_s) <= MOST_SLICES
        assert ceiling.disturbed or sorted(ceiling.rates_per_s)[-2] >= 0.9 * ceiling.rate_per_s
        assert min(ceiling.rates_per_s) > 0
        assert ceiling.mib_per_s > 0
        assert 0 < ceiling.engine_busy_share <= 1
        assert ceiling.responder_cpu_share
        assert ceiling.responder == NULL_RESPONDER
    assert own_processes() == before


@pytest.mark.real
def test_a_wrong_answer_ends_the_calibration_and_says_which(
    load: LoadProcess, cores: Cores, tmp_path: Path
) -> None:
    good = probe("keep-alive")
    wrong = replace(good, target=replace(good.target, answer=b"Hello, Wordl!"))
    with responding(cores, tmp_path) as responder_of:
        with pytest.raises(GatebenchError, match=r"(?s)keep-alive/.*body: .*Wordl"):
            calibrate(load, [wrong], responder_of, slices=1, window_s=0.02)
        # The load process has let go of its connections and serves the next one.
        assert calibrate(load, [good], responder_of, slices=1, window_s=0.02)


@pytest.mark.real
def test_the_responder_carries_the_mark_of_its_lab_and_ends_with_the_block(tmp_path: Path) -> None:
    with null_responder(core=None, owner=Owner.this(), log=tmp_path / "null.log") as responder:
        assert marked_processes()[responder.pid] == Owner.this()
        assert responder.cpu_s() > 0
    assert responder.pid not in own_processes()
    with pytest.raises(GatebenchError, match="the null responder ended"):
        responder.cpu_s()


@pytest.mark.real
def test_a_responder_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(GatebenchError, match=r"(?s)the null responder: .*sched_setaffinity"),
        null_responder(core=ABSENT_CORE, owner=Owner.this(), log=tmp_path / "null.log"),
    ):
        pass


@pytest.mark.real
def test_the_command_prints_a_line_for_every_request() -> None:
    # In a process of its own, since the command sweeps up everything that carries its process's mark.
    code = (
        "import sys\n"
        "from gatebench.cli import app, subjects as command\n"
        "command.SLICES, command.WINDOW_S, command.CONNECTIONS = 1, 0.02, 2\n"
        "sys.argv = ['gatebench', 'calibrate', '--engines', '1']\n"
        "app.main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    for each in PROBES:
        assert each.level in ended.stdout


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
