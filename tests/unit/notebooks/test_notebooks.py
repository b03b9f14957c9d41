"""The notebooks run from top to bottom on any run, hold no logic, and are stored without outputs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from traitlets.config import Config

from analysis.charts.registry import CHARTS
from analysis.figures.summary import summarize
from analysis.notebook import (
    NothingToShow,
    counted_latencies,
    first_pair,
    loaded_by,
    open_run,
    over_websocket,
    show_charts,
)
from gatebench.results.bundle import bundle
from gatebench.words.model import Level
from gatebench.words.paths import ROOT
from tests.support.synthetic import BROADCAST, IDLE, LOADS, SEARCH, STEADY, SUBJECTS, make_run
from tests.support.synthetic_model import Plan

if TYPE_CHECKING:
    from nbformat import NotebookNode

FOLDER = ROOT / "analysis" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PLAN = Plan(blocks=3, rounds=4)
KEEP_ALIVE, _, ECHO, WAIT = LOADS
NOTHING = "Nothing to show here"
RATES = [Level(64, "open", rate_per_s=rate) for rate in (1_000, 2_000)]
EVERY_LOAD = (
    KEEP_ALIVE,
    replace(KEEP_ALIVE, level=Level(16)),
    WAIT,
    ECHO,
    SEARCH,
    *(replace(STEADY, level=level) for level in RATES),
    replace(STEADY, name="websocket-rate", transport="websocket", needs=("websocket",)),
    BROADCAST,
    replace(BROADCAST, name="websocket-handshake", exchange="handshake"),
    IDLE,
)
LOGIC = (
    ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda | ast.If | ast.IfExp | ast.While
    | ast.Try | ast.With | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
)  # fmt: skip
each_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


@pytest.fixture(autouse=True)
def _no_windows() -> Iterator[None]:
    mpl.use("Agg")
    yield
    plt.close("all")


def read(file: Path) -> NotebookNode:
    notebook: NotebookNode = nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call]  # has no types
    return notebook


def code_of(file: Path) -> list[str]:
    return [cell.source for cell in read(file).cells if cell.cell_type == "code"]


def nodes_of(file: Path) -> Iterator[ast.AST]:
    for source in code_of(file):
        yield from ast.walk(ast.parse(source))


def run_here(file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a notebook's cells in this process, where a warning is an error."""
    monkeypatch.setenv("GATEBENCH_RUN", str(folder))
    names: dict[str, object] = {}
    for number, source in enumerate(code_of(file)):
        exec(compile(source, f"{file.stem}, code cell {number}", "exec"), names)  # noqa: S102 - our own files


@contextmanager
def as_ipython_shows_it() -> Iterator[None]:
    """What cannot go on says why, and that is all."""
    try:
        yield
    except NothingToShow as nothing:
        print(nothing)


def test_there_is_a_notebook_for_each_of_four_questions() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["latency", "own_question", "throughput", "websocket"]


@each_notebook
def test_a_notebook_holds_no_logic(file: Path) -> None:
    assert not [ast.unparse(node) for node in nodes_of(file) if isinstance(node, LOGIC)]


@each_notebook
def test_every_cell_of_a_notebook_is_explained_before_it(file: Path) -> None:
    kinds = [cell.cell_type for cell in read(file).cells]

    assert kinds[::2] == ["markdown"] * len(kinds[::2])


@each_notebook
def test_a_notebook_is_stored_without_outputs_and_without_its_authors_machine(file: Path) -> None:
    notebook = read(file)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert all(cell.metadata == {} for cell in notebook.cells)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert not re.search(r"(?<![\w.<])/(home|root|tmp|work|Users|var|opt)/", file.read_text(encoding="utf-8"))


@each_notebook
def test_a_notebook_names_only_workloads_and_files_that_there_are(file: Path) -> None:
    named = [
        node.value.value
        for node in nodes_of(file)
        if isinstance(node, ast.keyword) and node.arg == "such_as" and isinstance(node.value, ast.Constant)
    ]
    text = file.read_text(encoding="utf-8")

    assert [name for name in named if not (ROOT / "loadtests" / "workloads" / str(name)).is_dir()] == []
    paths = re.findall(r"`(analysis/[\w/]+\.\w+)`|\b([A-Z]{4,}\.md)\b", text)
    assert [path for pair in paths for path in pair if path and not (ROOT / path).is_file()] == []


@each_notebook
def test_a_notebook_runs_on_the_run_of_the_readme_and_draws(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEBENCH_RUN", "docs/headline")
    notebook = read(file)

    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()

    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output for output in outputs if {"image/svg+xml", "image/png"} & set(output.get("data", {}))]
    assert not [output for output in outputs if output.get("name") == "stderr"]


@each_notebook
def test_a_notebook_has_everything_to_show_of_a_run_that_has_everything(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = dict.fromkeys((load.name for load in EVERY_LOAD), 3_000.0)
    subjects = [replace(truth, rates=rates) for truth in SUBJECTS[3:5]]
    folder = make_run(tmp_path / "run", PLAN, subjects, EVERY_LOAD)

    run_here(file, folder, monkeypatch)

    assert NOTHING not in capsys.readouterr().out


@each_notebook
def test_a_notebook_says_what_a_run_of_one_workload_does_not_have(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path / "run", PLAN, SUBJECTS[1:3], [KEEP_ALIVE])

    run_here(file, folder, monkeypatch)

    missing = {"latency": 5, "own_question": 0, "throughput": 2, "websocket": 7}
    assert capsys.readouterr().out.count(NOTHING) == missing[file.stem]


@each_notebook
def test_a_notebook_does_not_stumble_over_a_run_without_a_valid_cell(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = [replace(truth, busy_share=0.99) for truth in SUBJECTS[3:5]]
    folder = make_run(tmp_path / "run", PLAN, dead, [*LOADS, STEADY])

    with as_ipython_shows_it():
        run_here(file, folder, monkeypatch)

    assert re.search("No subject gave a figure that may|No two subjects", capsys.readouterr().out)


@each_notebook
def test_a_notebook_does_not_stumble_over_a_run_that_has_measured_nothing_yet(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path / "run", Plan(blocks=0), SUBJECTS[3:5], [*LOADS, STEADY], finished=False)

    with as_ipython_shows_it():
        run_here(file, folder, monkeypatch)

    assert re.search("No subject gave a figure that may|No two subjects", capsys.readouterr().out)


def test_without_a_run_the_reader_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEBENCH_RUN", "results/no-such-run")

    with pytest.raises(NothingToShow, match=r"no-such-run: is neither .*\n.*`make smoke` makes one"):
        open_run()


def test_ipython_shows_what_is_missing_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("GATEBENCH_RUN", "results/no-such-run")

    without_history = Config({"HistoryManager": {"enabled": False}})
    shell = InteractiveShell(config=without_history)  # type: ignore[no-untyped-call]  # has no types
    shell.run_cell("from analysis.notebook import open_run\nopen_run()")  # type: ignore[no-untyped-call]  # has no types

    out = capsys.readouterr().out
    assert "no-such-run: is neither a results folder nor a bundle" in out
    assert "Traceback" not in out
    assert "notebook.py" not in out


def test_a_bundle_can_be_looked_at_without_unpacking_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path / "run", Plan(blocks=1, rounds=2), SUBJECTS[1:3], [KEEP_ALIVE])
    monkeypatch.setenv("GATEBENCH_RUN", str(bundle(folder, tmp_path / "run.gatebench.zip")))

    run = open_run()
    assert set(run.slices["subject"]) == {truth.id for truth in SUBJECTS[1:3]}
    assert counted_latencies(run).to_numpy().sum() == run.slices["latency_count"].sum()


def test_levels_are_chosen_by_how_they_are_loaded_and_by_what_a_websocket_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = [KEEP_ALIVE, STEADY, ECHO, BROADCAST]
    truth = replace(SUBJECTS[8], rates=dict.fromkeys((load.name for load in loads), 3_000.0))
    monkeypatch.setenv("GATEBENCH_RUN", str(make_run(tmp_path / "run", PLAN, [truth], loads)))
    run = open_run()
    levels = summarize(run).levels

    assert [level.workload for level in loaded_by(levels, "open", "ladder")] == ["steady"]
    assert [level.workload for level in over_websocket(run, levels)] == [ECHO.name, BROADCAST.name]
    assert [level.workload for level in over_websocket(run, levels, "broadcast")] == [BROADCAST.name]


def test_the_first_pair_is_of_a_throughput_and_of_the_two_highest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truths = [replace(truth, rates={**truth.rates, "steady": 9e3}) for truth in SUBJECTS[1:5]]
    monkeypatch.setenv("GATEBENCH_RUN", str(make_run(tmp_path / "run", PLAN, truths, [STEADY, KEEP_ALIVE])))

    level, left, right = first_pair(summarize(open_run()).levels)

    assert (level.workload, left, right) == ("keep-alive", "gunicorn-uvicorn", "gunicorn-gevent")


def test_a_chart_that_is_not_there_is_answered_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEBENCH_RUN", str(make_run(tmp_path / "run", PLAN, SUBJECTS[1:3], [KEEP_ALIVE])))
    run = open_run()

    with pytest.raises(NothingToShow, match=f"'pie'; there are: {CHARTS[0].name}, "):
        show_charts(run, summarize(run).levels, "pie", such_as="keep-alive")
