"""Folders of servers and applications, as somebody would write them, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatebench.registry.servers import parse_server
from gatebench.words.errors import ConfigurationError

HASH = "--hash=sha256:" + "0" * 64
REQUIREMENTS = f"demo==1.0 \\\n    {HASH}\n    # via nothing\n"

SERVER = """\
homepage = "https://example.org/"

[remedies]
cc = "apt-get install gcc"

[variants.default]
interface = "wsgi"
command = ["demo", "--bind={host}:{port}", "{app}"]
class = "default"
supports = ["close", "keep-alive"]
stop = "INT"
needs = ["cc"]

[variants.default.environment]
DEMO = "1"

[variants.default.plot]
color = "#1f77b4"

[variants.default.files]
"demo.conf" = "threads {threads}; events { workers {workers}; }"
"""

WORKLOAD = """\
description = "Short answers"
transport = "close"
slice = "100ms"
warmup = "1s"
profiles = ["smoke", "full"]

[request]
path = "/plaintext"

[load]
model = "closed"
connections = [16, 64]
"""


def write_server(tmp_path: Path, text: str = SERVER, requirements: str = REQUIREMENTS) -> Path:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "server.toml").write_text(text)
    (folder / "requirements.txt").write_text(requirements)
    return folder


def server_problems(tmp_path: Path, old: str, new: str) -> tuple[str, ...]:
    assert old in SERVER
    folder = write_server(tmp_path, SERVER.replace(old, new))
    with pytest.raises(ConfigurationError) as caught:
        parse_server(folder)
    return caught.value.problems


def add_server(directory: Path, name: str, text: str = SERVER) -> Path:
    folder = directory / name
    folder.mkdir(parents=True)
    (folder / "server.toml").write_text(text)
    (folder / "requirements.txt").write_text(REQUIREMENTS)
    return folder


def add_application(directory: Path, name: str, *files: str) -> None:
    folder = directory / name
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).touch()
