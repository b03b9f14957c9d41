"""`gatebench compare A B`: loads two runs, prints what they say, and tells a script the outcome."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

from analysis.comparing.chart import ratio_charts
from analysis.comparing.compare import Side, compare_runs
from analysis.comparing.json_form import as_json
from analysis.comparing.tables import comparison_tables
from analysis.load import load_run
from analysis.summary import summarize
from gatebench.results.bundle import unpacked
from gatebench.words.errors import ConfigurationError, GatebenchError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

EXIT_DONE, EXIT_REGRESSION, EXIT_NO_VERDICT = 0, 1, 2


def compare_command(
    a: Path, b: Path, console: Console, json_file: Path | None = None, charts: Path | None = None
) -> int:
    """Prints the comparison and returns 1 where a regression beyond the noise was found, else 0.

    Where no cell has a verdict, as across machines, it returns 2: a script has nothing to go by.

    Args:
        a: folder or bundle of the run that the other is held against.
        b: folder or bundle of the other run.
        console: to print on.
        json_file: file to write the comparison to, replaced where it exists.
        charts: folder for a chart of each level, made where it is missing.

    Raises:
        ConfigurationError: a folder holds no sound run, the runs have no cell in common, nothing of them can
            be compared, or a file cannot be written. A script must not take any of these for a regression,
            hence not the error that ends with 1.
    """
    with ExitStack() as unpacked_until:
        result = compare_runs(_side(a, unpacked_until), _side(b, unpacked_until))
    console.print(comparison_tables(result))
    try:
        if json_file is not None:
            text = json.dumps(as_json(result), indent=1, ensure_ascii=False, allow_nan=False)
            json_file.write_text(f"{text}\n", encoding="utf-8")
        if charts is not None:
            charts.mkdir(parents=True, exist_ok=True)
            for chart in ratio_charts(result):
                for name, content in chart.files().items():
                    (charts / name).write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: cannot be written: {error.strerror}") from error
    if not result.says_something:
        raise ConfigurationError("nothing of these two runs can be compared; the reasons are listed above")
    if all(cell.verdict == "not comparable" for cell in result.cells):
        console.print("No cell has a verdict, so nothing is known of regressions; see the reasons above.")
        return EXIT_NO_VERDICT
    return EXIT_REGRESSION if result.with_verdict("regression") else EXIT_DONE


def _side(source: Path, unpacked_until: ExitStack) -> Side:
    try:
        run = load_run(unpacked_until.enter_context(unpacked(source)))
        return Side(run, summarize(run))
    except ConfigurationError:
        raise
    except GatebenchError as error:
        raise ConfigurationError(str(error)) from error
