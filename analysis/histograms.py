"""The latencies of a run, level by level: those of a large run do not fit into memory together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from analysis.parallel import forked_map
from analysis.parts import arrow_part, empty, read_part, typed
from gatebench.words.errors import GatebenchError
from loadtests.engine.tally import CLOCKS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from analysis.meta import RunMeta
    from analysis.parts import Type

CELL = ("block", "subject", "workload", "level")
HISTOGRAM_COLUMNS = (*CELL, "clock", "latency_us", "count", "shared")


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the rows.

    Attributes:
        levels: workload and level of those that it has rows of.
        read: gives the rows.
    """

    levels: frozenset[tuple[str, str]]
    read: Callable[[], pd.DataFrame]


@dataclass(frozen=True, slots=True)
class Histograms:
    """Counts per whole microsecond, the columns of `HISTOGRAM_COLUMNS`; equal keys add up."""

    parts: tuple[Part, ...]
    types: Mapping[str, Type]

    def of_level(self, workload: str, level: str) -> pd.DataFrame:
        """The rows of one level, read anew."""
        frames = []
        for part in self.parts:
            if (workload, level) not in part.levels:
                continue
            frame = part.read()
            if len(part.levels) > 1:
                frame = frame[(frame["workload"] == workload) & (frame["level"] == level)]
            frames.append(frame)
        return pd.concat(frames, ignore_index=True) if frames else empty(self.types)

    def without_rows(self) -> Histograms:
        """The same of no cell."""
        return Histograms((), self.types)


def histogram_types(run: RunMeta) -> dict[str, Type]:
    """The columns and their types, small ones: a large run has tens of millions of rows."""
    return {
        "block": "int32",
        "subject": pd.CategoricalDtype([subject.id for subject in run.subjects]),
        "workload": pd.CategoricalDtype(sorted({plan.workload for plan in run.levels})),
        "level": pd.CategoricalDtype(sorted({plan.level for plan in run.levels})),
        "clock": pd.CategoricalDtype(list(CLOCKS)),
        "latency_us": "int32",
        "count": "int32",
        "shared": "bool",
    }


def open_histograms(
    files: Sequence[Path], types: Mapping[str, Type], missing: Mapping[str, float | str]
) -> tuple[Histograms, pd.Series[int]]:
    """Reads every part once, to know that it is whole and what it has.

    Args:
        files: the parts.
        types: from `histogram_types`.
        missing: what stands for a column that older runs do not have.

    Returns:
        The histograms, and how many response times there are: one row a `CELL`.

    Raises:
        GatebenchError: a part is damaged; it names the file.
    """
    counted = forked_map(partial(_counted, types=types, missing=missing), files)
    parts = []
    for file, (levels, _) in zip(files, counted, strict=True):
        parts.append(Part(levels, partial(read_part, file, types, missing)))
    counts = [count for _, count in counted]
    together = pd.concat(counts) if counts else _responses(empty(types))
    return Histograms(tuple(parts), types), together.groupby(level=list(CELL)).sum()


def _counted(
    file: Path, types: Mapping[str, Type], missing: Mapping[str, float | str]
) -> tuple[frozenset[tuple[str, str]], pd.Series[int]]:
    """The levels of a part, and how many response times it has of each `CELL`."""
    table = arrow_part(file, types, missing)
    numbers = [
        name for name in ("latency_us", "count") if not pa.types.is_integer(table.schema.field(name).type)
    ]
    if numbers:
        raise GatebenchError(
            f"{file}: a column has the wrong type ({' and '.join(numbers)}: no whole numbers)"
        )
    keys = [name for name in types if name not in {"latency_us", "count"}]
    sums = table.group_by(keys, use_threads=False).aggregate([("count", "sum")]).to_pandas(use_threads=False)
    frame = typed(file, sums.rename(columns={"count_sum": "count"}), {name: types[name] for name in keys})
    pairs = frame[["workload", "level"]].drop_duplicates()
    levels = zip(pairs["workload"].astype("str"), pairs["level"].astype("str"), strict=True)
    return frozenset(levels), _responses(frame)


def _responses(frame: pd.DataFrame) -> pd.Series[int]:
    rows = frame.loc[frame["clock"] == "response", [*CELL, "count"]]
    texts = {name: "str" for name in CELL if name != "block"}
    held: pd.Series[int] = rows.astype({"block": "int64", **texts}).set_index(list(CELL))["count"]
    return held
