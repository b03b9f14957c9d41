"""What a server runs on is observed, and held against what its variant asks for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gatebench.contract.site import Fetched
from gatebench.machine.processes import Composition
from gatebench.results.observed import ObservedMeta
from gatebench.runners.readiness import Within, _read, _within, not_as_asked, observed
from gatebench.words.model import Expects

UVLOOP = Within("uvloop.Loop", ("uvloop", "httptools", "websockets"), "http")
ASYNCIO = Within("asyncio.unix_events._UnixSelectorEventLoop", ("h11", "wsproto"), "http")
SEEN = Composition(2, 6, ("httptools", "uvloop"))


def test_an_answer_and_the_kernel_give_loop_libraries_processes_and_threads() -> None:
    found = observed(UVLOOP, SEEN)
    assert (found.loop, found.loop_class, found.tls) == ("uvloop", "uvloop.Loop", False)
    assert (found.http, found.websocket) == ("httptools", "websockets")
    assert (found.processes, found.threads) == (2, 6)
    assert found.in_words == "uvloop, httptools, websockets; 2 processes, 6 threads"


@pytest.mark.parametrize(
    ("within", "expected"),
    [
        (ASYNCIO, "asyncio, h11, wsproto; 2 processes, 6 threads"),
        (Within("rloop.loop.RLoop", ("rloop",), "https"), "rloop, own parser; 2 processes, 6 threads"),
        (Within("", ("gevent",), "http"), "gevent, own parser; 2 processes, 6 threads"),
        (
            replace(ASYNCIO, libraries=("h11", "httptools")),
            "asyncio, h11 and httptools; 2 processes, 6 threads",
        ),
        (None, "2 processes, 6 threads"),
    ],
)
def test_what_was_observed_is_told_in_a_few_words(within: Within | None, expected: str) -> None:
    assert observed(within, SEEN).in_words == expected


def test_of_what_nobody_saw_it_is_said_that_it_was_not_observed() -> None:
    assert observed(None, Composition()).in_words == "not observed"


def test_tls_is_what_the_application_was_told_of_its_scheme() -> None:
    assert observed(replace(UVLOOP, scheme="https"), SEEN).tls is True
    assert observed(replace(UVLOOP, scheme=""), SEEN).tls is None


@pytest.mark.parametrize(
    ("expects", "within", "mapped", "wrong"),
    [
        (Expects("uvloop", "httptools", "websockets"), UVLOOP, (), ""),
        (Expects(), UVLOOP, (), ""),
        (
            Expects("uvloop"),
            ASYNCIO,
            ("uvloop",),  # mapped, and not what runs
            'loop = "uvloop", and it runs on asyncio (asyncio.unix_events._UnixSelectorEventLoop)',
        ),
        (Expects("asyncio"), UVLOOP, (), 'loop = "asyncio", and it runs on uvloop (uvloop.Loop)'),
        (Expects("", "own"), UVLOOP, (), 'http = "own", and it has loaded httptools'),
        (Expects("", "zttp"), ASYNCIO, (), 'http = "zttp", and it has loaded h11'),
        (Expects("", "", "wsproto"), UVLOOP, (), 'websocket = "wsproto", and it has loaded websockets'),
        (
            Expects("", "h11"),
            replace(ASYNCIO, libraries=()),
            (),
            'http = "h11", and it has loaded no library',
        ),
        # An application that does not tell: only what is not mapped is sure.
        (Expects("uvloop"), None, (), 'loop = "uvloop", and none of its processes has loaded uvloop'),
        (Expects("uvloop", "h11"), None, ("uvloop",), ""),
        (Expects("uvloop"), None, None, ""),
        (Expects("asyncio"), None, ("uvloop",), ""),
    ],
)
def test_a_server_that_runs_on_something_else_than_asked_is_told_from_one_that_does_not(
    expects: Expects, within: Within | None, mapped: tuple[str, ...] | None, wrong: str
) -> None:
    assert not_as_asked(expects, observed(within, Composition(1, 1, mapped))) == wrong


def answer(**document: Any) -> Fetched:
    return Fetched(200, json.dumps({"interface": "asgi", "keys": {}, **document}).encode(), "")


@pytest.mark.parametrize(
    "process",
    [None, "uvloop", {"loop": 3, "libraries": []}, {"loop": "uvloop.Loop"}, {"libraries": ["uvloop"]}],
)
def test_an_application_that_tells_nothing_of_its_process_leaves_that_unknown(process: object) -> None:
    told, reason = _read(answer(process=process))
    assert told is not None
    assert reason == ""
    assert _within("asgi", told) is None


def test_what_an_application_tells_of_its_process_is_read_with_the_scheme() -> None:
    process = {"loop": "uvloop.Loop", "libraries": ["uvloop", "httptools"]}
    keys = {"scheme": {"type": "str", "value": "https"}}
    told, _ = _read(answer(process=process, keys=keys))
    assert told is not None
    assert _within("asgi", told) == Within("uvloop.Loop", ("uvloop", "httptools"), "https")


def test_two_looks_keep_what_was_told_and_the_most_processes_and_threads() -> None:
    before, after = observed(UVLOOP, SEEN), observed(None, Composition(1, 40, ("uvloop",)))
    both = before.beside(after)
    assert (both.loop, both.http, both.processes, both.threads) == ("uvloop", "httptools", 2, 40)
    assert ObservedMeta().beside(before) == before
