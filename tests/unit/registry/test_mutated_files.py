"""However a file is broken, it is read or refused by file and key, and never with a traceback."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.claims.file import CLAIMS_FILE, Known, load_claims
from gatebench.contract.file import CONTRACT_FILE
from gatebench.registry.contract import read_contract
from gatebench.registry.registry import open_registry
from gatebench.registry.servers import parse_server
from gatebench.registry.workloads import parse_workload
from gatebench.words.errors import ConfigurationError
from gatebench.words.paths import ROOT

SERVERS = sorted((ROOT / "servers").glob("*/server.toml"))
WORKLOADS = sorted((ROOT / "loadtests" / "workloads").glob("*/workload.toml"))
KNOWN = Known.of_registry(open_registry())
VALUES = st.one_of(
    st.sampled_from(
        ["", "x", "close", "websocket", "asgi", "tuned", "POST", "/echo", "idle", "ladder", "0ms", "10ms"]
    ),
    st.sampled_from(["{port}", "{prot}", "$PORT", "text:x", "bytes:{n}", "GET /json", "none", "every"]),
    st.integers(-2, 10**6),
    st.floats(),
    st.booleans(),
    st.sampled_from([[], {}, [1], ["x"], [""], [True], [0.5], {"x": 1}, {"x": "y"}, {"x": {}}]),
)


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every table or list, with each of its keys or positions."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield data, key
        if isinstance(value, dict | list):
            yield from places(value)


def toml(value: Any) -> str:
    """A value as TOML, which is JSON but for tables and what is no finite number."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")


@st.composite
def broken(draw: st.DrawFn, file: Path) -> str:
    """The file with up to three keys renamed, left out, added, or given another value."""
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(data))
        if not found:
            break
        holder, key = draw(st.sampled_from(found))
        change = draw(st.sampled_from(["leave out", "rename", "add", "replace", "replace"]))
        if change == "leave out":
            del holder[key]
        elif change == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from([f"{key}s", key[1:], key.upper()]))] = holder.pop(key)
        elif change == "add" and isinstance(holder, dict):
            holder[draw(st.sampled_from(["kind", "why", "body", "x"]))] = deepcopy(draw(VALUES))
        else:
            holder[key] = deepcopy(draw(VALUES))
    return "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in data.items())


def reader(file: Path, folder: Path) -> tuple[Path, Callable[[], object]]:
    """A copy of the file where it is read from, and what reads it."""
    if file == CONTRACT_FILE:
        contract = folder / "contract.toml"
        return contract, lambda: read_contract(contract)
    if file == CLAIMS_FILE:
        claims = folder / "claims.toml"
        # As a file that a run keeps and as one's own, whose names are checked.
        return claims, lambda: (load_claims(kept=[claims]), load_claims([claims], KNOWN))
    copy = folder / file.parent.name
    if not copy.exists():
        shutil.copytree(file.parent, copy)
    parse = parse_server if file in SERVERS else parse_workload
    return copy / file.name, lambda: parse(copy)


@pytest.mark.parametrize(
    "file", [*SERVERS, *WORKLOADS, CONTRACT_FILE, CLAIMS_FILE], ids=lambda file: file.parent.name
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_broken_file_is_read_or_refused_by_file_and_key(
    tmp_path: Path, file: Path, data: st.DataObject
) -> None:
    copy, read = reader(file, tmp_path)
    copy.write_text(data.draw(broken(file)), encoding="utf-8")
    try:
        read()
    except ConfigurationError as error:
        for problem in error.problems:
            where, colon, told = problem.removeprefix(f"{copy}: ").partition(": ")
            assert problem.startswith(f"{copy}: ")
            assert where
            assert colon
            assert told
