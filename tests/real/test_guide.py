"""The explanation that the guide quotes, beside a live one."""

from __future__ import annotations

import io
import re

from rich.console import Console

from gatebench.explain.command import choose, look
from gatebench.run.run import choose_cores
from gatebench.words.paths import CACHE, ROOT
from tools.documents.guide import GUIDE
from tools.documents.tables import REGISTRY


def test_the_explanation_that_is_quoted_has_the_events_of_a_live_one() -> None:
    cores, progress = choose_cores(), Console(file=io.StringIO())
    live = look(choose(REGISTRY, "asgi", "uvicorn", "/ws/echo"), cores=cores, cache=CACHE, progress=progress)
    seen = [
        each.details["event"]["type"] for each in (*live.lifespan, *live.steps) if "event" in each.details
    ]
    section = (ROOT / GUIDE).read_text(encoding="utf-8").split("\n## See it live\n")[1].split("\n## ")[0]
    quoted = re.findall(r"(?:server → app|app → server) +([a-z.]+)", section)
    assert sorted(quoted) == sorted(seen)
    assert [each for each in quoted if "websocket" in each] == [each for each in seen if "websocket" in each]
