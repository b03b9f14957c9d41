"""Calibration: the real load process against the real null responder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gatebench.cli.subjects import table_probes
from gatebench.contract.file import load_contract
from gatebench.load.backend import Responder
from gatebench.load.calibration import (
    MOST_SLICES,
    Probe,
    calibrate,
    null_responder,
)
from gatebench.load.process import LoadProcess, local_load
from gatebench.machine.cores import Cores, available_cores, divide
from gatebench.machine.processes import Owner, marked_processes
from gatebench.results.schema import NULL_RESPONDER
from gatebench.words.errors import GatebenchError
from loadtests.engine.protocol import Target, Transport

ABSENT_CORE = 1 << 20
PROBES = table_probes(load_contract())


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


def test_the_responder_carries_the_mark_of_its_lab_and_ends_with_the_block(tmp_path: Path) -> None:
    with null_responder(core=None, owner=Owner.this(), log=tmp_path / "null.log") as responder:
        assert marked_processes()[responder.pid] == Owner.this()
        assert responder.cpu_s() > 0
    assert responder.pid not in own_processes()
    with pytest.raises(GatebenchError, match="the null responder ended"):
        responder.cpu_s()


def test_a_responder_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(GatebenchError, match=r"(?s)the null responder: .*sched_setaffinity"),
        null_responder(core=ABSENT_CORE, owner=Owner.this(), log=tmp_path / "null.log"),
    ):
        pass


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
