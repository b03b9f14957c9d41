"""Reads the parts of which a table of raw data consists: one Parquet file each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.parallel import forked_map
from gatebench.words.errors import GatebenchError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Arrow's own allocators keep what they once held; a report may be made beside a run that goes on.
pa.set_memory_pool(pa.system_memory_pool())

Type: TypeAlias = "str | pd.CategoricalDtype"


def read_table(
    folder: Path,
    columns: Mapping[str, Type],
    missing: Mapping[str, float | str],
) -> pd.DataFrame:
    """All parts in `folder` as one frame."""
    parts = forked_map(partial(read_part, columns=columns, missing=missing), parts_of(folder))
    return pd.concat(parts, ignore_index=True) if parts else empty(columns)


def parts_of(folder: Path) -> list[Path]:
    """The finished parts of a table, in order; a file under any other name is an unfinished write."""
    return [file for file in sorted(folder.glob("*.parquet")) if file.name[0] not in "._"]


def empty(columns: Mapping[str, Type]) -> pd.DataFrame:
    """A table without rows."""
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})


def read_part(file: Path, columns: Mapping[str, Type], missing: Mapping[str, float | str]) -> pd.DataFrame:
    """One part as a frame.

    Args:
        file: the part.
        columns: their names and types; others are left out.
        missing: what stands for a column that older runs do not have.

    Raises:
        GatebenchError: it is damaged, lacks a column, or has what the run does not know; it names the file.
    """
    return typed(file, arrow_part(file, columns, missing).to_pandas(use_threads=False), columns)


def arrow_part(file: Path, columns: Mapping[str, Type], missing: Mapping[str, float | str]) -> pa.Table:
    """As `read_part`, before the columns have their types."""
    try:
        # Texts that repeat are read as what they will be, which takes a third of the time.
        there = set(pq.read_schema(file).names)
        categories = [name for name, kind in columns.items() if isinstance(kind, pd.CategoricalDtype)]
        # One file at a time: pandas.read_parquet on the folder could not say which part is damaged.
        table = pq.ParquetFile(
            file,
            page_checksum_verification=True,
            read_dictionary=[name for name in categories if name in there],
        ).read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise GatebenchError(f"{file}: damaged or not Parquet ({error})") from error
    for name, value in missing.items():
        if name in columns and name not in table.column_names:
            table = table.append_column(name, pa.repeat(pa.scalar(value), len(table)))
    absent = sorted(set(columns) - set(table.column_names))
    if absent:
        raise GatebenchError(f"{file}: the columns {', '.join(absent)} are missing")
    return table.select(list(columns))


def typed(file: Path, frame: pd.DataFrame, columns: Mapping[str, Type]) -> pd.DataFrame:
    """The frame with these types for its columns.

    Args:
        file: where it is from, for a message.
        frame: with the columns.
        columns: their names and types.

    Raises:
        GatebenchError: what it has is of another type, or nothing that the run knows; it names the file.
    """
    try:
        changed: pd.DataFrame = frame.astype(dict(columns))
    except (ValueError, TypeError) as error:
        raise GatebenchError(f"{file}: a column has the wrong type ({error})") from error
    for name, kind in columns.items():
        if isinstance(kind, pd.CategoricalDtype) and changed[name].isna().any():
            unknown = sorted(set(frame[name]) - set(kind.categories))
            raise GatebenchError(f"{file}: run.json knows no {name} {', '.join(map(str, unknown))}")
    return changed
