"""The options of Locust that the documents name, beside those that it has."""

from __future__ import annotations

import re
import subprocess
import sys

from gatebench.words.paths import ROOT
from tests.support.documents import TEXTS, commands


def test_every_option_of_locust_that_is_named_exists() -> None:
    run = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--help"]
    text = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # Locust's help comes before it reads the file with our own options.
    options = ROOT / "loadtests" / "swarm" / "plain.py"
    ours = re.findall(r'"(--[a-z-]+)"', options.read_text(encoding="utf-8"))
    known = {*re.findall(r"(?<!\S)(--[a-z-]+)", text), *ours}
    named = {
        *re.findall(r"`(--[a-z-]+)", TEXTS["docs/locust.md"]),
        *(word for command in commands("locust") for word in command),
    }
    assert {word for word in named if word.startswith("--")} <= known
