"""Whether servers that run have come to rest."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gatebench.machine.processes import Owner
from gatebench.runners.base import Launch, start_one
from gatebench.runners.process.runner import ProcessRunner
from gatebench.runners.readiness import await_rest
from gatebench.words.options import Budget
from gatebench.words.paths import CACHE
from tests.support.subjects import running

CORE = max(os.sched_getaffinity(0))


BUSY_FOR_A_WHILE = "import time\nwhile time.process_time() < 0.5: pass\ntime.sleep(60)"


ALWAYS_BUSY = "while True: pass"


@pytest.mark.parametrize(("program", "comes_to_rest"), [(BUSY_FOR_A_WHILE, True), (ALWAYS_BUSY, False)])
def test_a_server_that_has_begun_rests_and_one_that_never_does_is_told(
    tmp_path: Path, program: str, *, comes_to_rest: bool
) -> None:
    budget = Budget((CORE,), workers=2)
    runner = ProcessRunner(
        budget=budget, owner=Owner.this(), scratch=tmp_path, cache=CACHE, report=lambda _: None
    )
    subject = running(sys.executable, "-c", program)
    assert runner.prepare([subject])[subject.id].reason == ""
    instance = start_one(runner, Launch(subject, tmp_path / "log", 1))
    try:
        assert await_rest([instance], timeout_s=20 if comes_to_rest else 1) == (
            [] if comes_to_rest else [instance]
        )
    finally:
        runner.stop([instance])
