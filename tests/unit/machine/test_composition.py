"""What the kernel shows of a server: the libraries that it has mapped, its processes and its threads."""

from __future__ import annotations

import os
import threading

import pytest

from gatebench.machine.processes import Composition, composition, shared_objects, threads
from gatebench.words.footing import SHARED_OBJECTS

LIB = "/srv/env/lib/python3.13/site-packages"
MAPS = f"""\
55d0c2a00000-55d0c2a01000 r--p 00000000 fe:01 1311      /usr/bin/python3.13
7f1c2a000000-7f1c2a021000 rw-p 00000000 00:00 0
7f1c2b200000-7f1c2b3c0000 r-xp 00010000 fe:01 2211      {LIB}/uvloop/loop.cpython-313-x86_64-linux-gnu.so
7f1c2b3c0000-7f1c2b3f0000 rw-p 001c0000 fe:01 2211      {LIB}/uvloop/loop.cpython-313-x86_64-linux-gnu.so
7f1c2c000000-7f1c2c020000 r-xp 00000000 fe:01 2311      {LIB}/httptools/parser/parser.cpython-313.so
7f1c2c100000-7f1c2c120000 r-xp 00000000 fe:01 2312      /usr/lib/python3/dist-packages/websockets/speedups.so
7f1c2d000000-7f1c2d020000 r-xp 00000000 fe:01 2411      /home/me/rloop/lib/libc.so
7f1c2e000000-7f1c2e020000 r--p 00000000 fe:01 2511      {LIB}/picows/notes.txt
7ffd3f000000-7ffd3f021000 rw-p 00000000 00:00 0         [stack]
"""
STATUS = "Name:\tpython3\nUmask:\t0022\nState:\tS (sleeping)\nPid:\t4711\nThreads:\t5\nSigQ:\t1/31303\n"


def test_packages_whose_compiled_modules_are_mapped_are_found_and_nothing_else() -> None:
    # A folder of that name elsewhere, and a file that is no module, are none of theirs.
    assert shared_objects(MAPS, SHARED_OBJECTS) == {"uvloop", "httptools", "websockets"}


@pytest.mark.parametrize(("text", "found"), [(STATUS, 5), ("", 0), ("Name:\tpython3\n", 0)])
def test_the_threads_of_a_process_are_those_that_its_status_says(text: str, found: int) -> None:
    assert threads(text) == found


def test_a_module_beside_the_packages_is_the_package() -> None:
    line = "7f1c2b200000-7f1c2b3c0000 r-xp 0 fe:01 9   /env/lib/python3.13/site-packages/zttp.abi3.so\n"
    assert shared_objects(line, SHARED_OBJECTS) == {"zttp"}


def test_a_process_of_several_threads_is_one_process() -> None:
    before = composition([os.getpid()], SHARED_OBJECTS)
    waiting = threading.Event()
    thread = threading.Thread(target=waiting.wait)
    thread.start()
    try:
        found = composition([os.getpid()], SHARED_OBJECTS)
    finally:
        waiting.set()
        thread.join()
    assert (before.processes, found.processes) == (1, 1)
    assert before.threads is not None
    assert found.threads == before.threads + 1


def test_of_a_server_that_has_ended_nothing_is_known() -> None:
    assert composition([], SHARED_OBJECTS) == Composition(None, None, None)
