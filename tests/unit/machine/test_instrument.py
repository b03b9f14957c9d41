"""Which code of the lab a run is told apart by: what decides figures, and nothing that only shows them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gatebench.machine.facts import INSTRUMENT, instrument_hash, load_side_hash
from gatebench.words.paths import ROOT

DECIDE = (
    "loadtests/engine/slot.py",
    "loadtests/swarm/users.py",
    "loadtests/scenarios/scenario.py",
    "loadtests/swarm/master.py",
    "gatebench/load/slicing.py",
    "gatebench/run/block.py",
    "gatebench/words/plan.py",
    "gatebench/machine/kernel.py",
    "gatebench/runners/process/runner.py",
    "servers/launch.py",
)
ONLY_SHOW = (
    "gatebench/cli/app.py",
    "gatebench/cli/progress.py",
    "gatebench/explain/explanation.py",
    "gatebench/explain/render.py",
)
MEASURES = (
    "gatebench.run.block",
    "gatebench.runners.process.runner",
    "loadtests.swarm.process",
    "loadtests.engine.__main__",
    "loadtests.null_server.__main__",
)
LIST = f"""
import importlib, json, sys
import locust  # patches the standard library, which has to come first
for name in {MEASURES!r}:
    importlib.import_module(name)
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
print(json.dumps([file for file in files if file]))
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the lab's own code."""
    for name in ("gatebench", "loadtests", "servers"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_copy_of_the_lab_elsewhere_is_the_same_instrument(sources: Path) -> None:
    assert instrument_hash(sources) == instrument_hash()
    assert load_side_hash(sources) == load_side_hash()


@pytest.mark.parametrize("name", DECIDE)
def test_other_code_that_decides_figures_is_another_instrument(sources: Path, name: str) -> None:
    file = sources / name
    file.write_text(file.read_text() + "\nANOTHER = 1\n")
    assert instrument_hash(sources) != instrument_hash()


def test_a_module_that_nobody_has_listed_is_part_of_the_instrument(sources: Path) -> None:
    (sources / "gatebench" / "load" / "added.py").write_text("")
    assert instrument_hash(sources) != instrument_hash()


@pytest.mark.parametrize("name", ONLY_SHOW)
def test_other_words_for_a_person_leave_the_instrument_as_it_is(sources: Path, name: str) -> None:
    file = sources / name
    file.write_text(file.read_text() + "\nANOTHER = 1\n")
    assert instrument_hash(sources) == instrument_hash()


def test_a_worker_that_sends_or_counts_otherwise_is_told_apart_and_one_with_another_lab_is_not(
    sources: Path,
) -> None:
    measure, session = sources / "gatebench/run/block.py", sources / "loadtests/swarm/users.py"
    measure.write_text(measure.read_text() + "\nANOTHER = 1\n")
    assert load_side_hash(sources) == load_side_hash()
    session.write_text(session.read_text() + "\nANOTHER = 1\n")
    assert load_side_hash(sources) != load_side_hash()


def test_nothing_that_measures_is_left_out() -> None:
    done = subprocess.run([sys.executable, "-c", LIST], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {Path(file) for file in json.loads(done.stdout)}
    ours = {
        file for file in loaded if any(ROOT / name in file.parents for name in ("gatebench", "loadtests"))
    }
    named = [path for pattern in INSTRUMENT for path in ROOT.glob(pattern)]
    assert ROOT / "gatebench" / "load" / "slicing.py" in ours
    missing = {file for file in ours if not any(each == file or each in file.parents for each in named)}
    assert missing == {ROOT / "gatebench" / "__init__.py"}
    assert all(list(ROOT.glob(pattern)) for pattern in INSTRUMENT)
