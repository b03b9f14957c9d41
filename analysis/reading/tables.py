"""Parquet parts, histograms and details of a run, as they are kept and read."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gatebench.results.columns import CELL, HISTOGRAMS
from gatebench.results.details import MOST_EXAMPLES, OTHER_NAMES, visible
from gatebench.words.errors import GatebenchError
from loadtests.engine.tally import CLOCKS, FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from gatebench.results.schema import RunMeta


T = TypeVar("T")
R = TypeVar("R")

_ITEMS_A_PROCESS = 3
"""With fewer, starting a process takes longer than it saves."""

_most = 0
_work: list[tuple[Callable[[Any], Any], Sequence[Any]]] = []


def forked_map(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The results of `function`, in the order of `items`.

    The processes are forks of this one: function and items may be whatever they are, and data that many items
    share, such as the histograms of a run, are in memory once. Only results are sent, so they must pickle.

    Raises:
        Exception: what `function` raised first.
        BrokenProcessPool: a process was killed.
    """
    processes = min(_cores(), len(items) // _ITEMS_A_PROCESS)
    if processes < 2 or _work:  # a fork of a fork has its core already
        return [function(item) for item in items]
    _work.append((function, items))
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of threads that hold a lock at a fork; those of BLAS and Arrow are idle here.
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            context = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin) as pool:
                return list(pool.map(_apply, range(len(items))))
    finally:
        _work.clear()


@contextmanager
def at_most(processes: int) -> Iterator[None]:
    """Keeps to so many processes, each of which takes some 60 MiB of its own; 0: as many as cores."""
    global _most  # noqa: PLW0603 - as process-wide as the processes that it limits
    before, _most = _most, processes
    try:
        yield
    finally:
        _most = before


def _begin() -> None:
    """In each fork: keeps the shared data shared, and ends when the process that asked is killed."""
    gc.freeze()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """A fork holds both ends of the queue that it takes work from, so it would wait there for ever."""
    wait([sentinel])
    os._exit(1)


def _apply(number: int) -> Any:
    function, items = _work[0]
    return function(items[number])


def _cores() -> int:
    """The cores that may be used; one on systems where a fork is not safe."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return min(cores, _most) if _most else cores


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
    # A part of more than a million rows has several row groups, each with a dictionary of its own.
    return table.select(list(columns)).unify_dictionaries()


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
        if isinstance(kind, pd.CategoricalDtype):
            # To pandas the same categories in another order are the same type, but charts follow their order.
            changed[name] = changed[name].cat.set_categories(kind.categories)
    return changed


_HTTP_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"}
)


@dataclass(frozen=True, slots=True)
class Named:
    """What a Locust file did under one name."""

    answers: int
    failures: int


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of one cell beside its figures; all of it is safe to print in one line.

    Attributes:
        examples: kind of failure → its first texts, which name the request; without kinds that did not occur.
        names: of a Locust file, type and name of a request (`GET /json`) → how often.
        uncounted: of a Locust file, what it did and no figure counts: `WS echo: why` → how often.
    """

    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: Mapping[str, Named] = field(default_factory=dict)
    uncounted: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts_messages(self) -> bool:
        """Whether all that was counted by name are messages of a WebSocket, and something was.

        A Locust file calls these as it likes, but not as a method of HTTP.
        """
        counted = [name for name, each in self.names.items() if each.answers]
        return bool(counted) and not any(_is_http(name) for name in counted)


NONE = Details()


def _is_http(name: str) -> bool:
    return name.partition(" ")[0].upper() in _HTTP_METHODS or name == OTHER_NAMES


@dataclass(frozen=True, slots=True)
class EveryDetail:
    """The details of a whole run, cell by cell and block by block; empty for runs that did not keep any."""

    parts: Mapping[tuple[str, str, str], Mapping[int, Details]] = field(default_factory=dict)

    def of(self, subject: str, workload: str, level: str, blocks: Iterable[int] | None = None) -> Details:
        """The sum over these blocks of one cell; over all of them where none are named."""
        by_block = self.parts.get((subject, workload, level), {})
        chosen = (
            by_block if blocks is None else {block: by_block[block] for block in blocks if block in by_block}
        )
        return together([chosen[block] for block in sorted(chosen)])


def together(parts: Iterable[Details]) -> Details:
    """Several details as one: the first examples, and the sums of what was counted."""
    examples: dict[str, list[str]] = defaultdict(list)
    names: dict[str, Named] = {}
    uncounted: dict[str, int] = {}
    for part in parts:
        for kind, texts in part.examples.items():
            examples[kind] += [text for text in texts if text not in examples[kind]]
        for name, each in part.names.items():
            sofar = names.get(name, Named(0, 0))
            names[name] = Named(sofar.answers + each.answers, sofar.failures + each.failures)
        for what, count in part.uncounted.items():
            uncounted[what] = uncounted.get(what, 0) + count
    kinds = (kind for kind in FAILURES if kind in examples)
    return Details({kind: tuple(examples[kind][:MOST_EXAMPLES]) for kind in kinds}, names, uncounted)


def read_details(events: Iterable[Mapping[str, Any]], file: Path) -> EveryDetail:
    """The events of the kind `details`; what they say is made safe to print, for anybody may have written it.

    Raises:
        GatebenchError: one of them has not the form that a run writes; it names the file.
    """
    parts: dict[tuple[str, str, str], dict[int, Details]] = defaultdict(dict)
    for event in events:
        if event["kind"] != "details":
            continue
        try:
            cell = str(event["subject"]), str(event["workload"]), str(event["level"])
            block, told = int(event["block"]), _details(event)
        except (TypeError, ValueError, AttributeError) as error:
            raise GatebenchError(f"{file}: details of a cell are not what a run writes ({error})") from error
        parts[cell][block] = together([parts[cell].get(block, NONE), told])
    return EveryDetail(parts)


def _details(event: Mapping[str, Any]) -> Details:
    return Details(
        {
            kind: tuple(visible(str(text)) for text in list(texts)[:MOST_EXAMPLES])
            for kind, texts in event["examples"].items()
            if kind in FAILURES
        },
        {
            visible(name): Named(int(answers), int(failures))
            for name, (answers, failures) in event["names"].items()
        },
        {visible(what): int(count) for what, count in event["uncounted"].items()},
    )


KEY = tuple(column.name for column in CELL)


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
    """Counts per whole microsecond, the columns of `HISTOGRAMS`; equal keys add up."""

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
    texts = {
        "subject": [
            *(subject.id for subject in run.subjects),
            *(responder.id for responder in run.responders),
        ],
        "workload": sorted({plan.workload for plan in run.levels}),
        "level": sorted({plan.level for plan in run.levels}),
        "clock": list(CLOCKS),
    }
    return {
        column.name: pd.CategoricalDtype(texts[column.name])
        if column.name in texts
        else column.read_as.replace("int64", "int32")
        for column in HISTOGRAMS
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
        The histograms, and how many response times there are: one row a `KEY`.

    Raises:
        GatebenchError: a part is damaged; it names the file.
    """
    counted = forked_map(partial(_counted, types=types, missing=missing), files)
    parts = []
    for file, (levels, _) in zip(files, counted, strict=True):
        parts.append(Part(levels, partial(read_part, file, types, missing)))
    counts = [count for _, count in counted]
    together = pd.concat(counts) if counts else _responses(empty(types))
    return Histograms(tuple(parts), types), together.groupby(level=list(KEY)).sum()


def _counted(
    file: Path, types: Mapping[str, Type], missing: Mapping[str, float | str]
) -> tuple[frozenset[tuple[str, str]], pd.Series[int]]:
    """The levels of a part, and how many response times it has of each `KEY`."""
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
    rows = frame.loc[frame["clock"] == "response", [*KEY, "count"]]
    texts = {name: "str" for name in KEY if name != "block"}
    held: pd.Series[int] = rows.astype({"block": "int64", **texts}).set_index(list(KEY))["count"]
    return held
