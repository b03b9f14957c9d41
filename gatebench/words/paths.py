"""Where things are: folders of the repository, and the address of servers."""

from __future__ import annotations

from pathlib import Path

import gatebench

HOST = "127.0.0.1"

SERVER_FILE = "server.toml"
APPLICATION_FILE = "app.toml"
APPLICATION_FILES = ("wsgi.py", "asgi.py")
WORKLOAD_FILE = "workload.toml"

ROOT = Path(gatebench.__file__).resolve().parent.parent
CACHE = ROOT / ".gatebench" / "environments"
MADE_APPLICATIONS = ROOT / ".gatebench" / "applications"
"""Folders that the lab makes of applications that a person names, for as long as a run lasts."""
RESULTS = ROOT / "results"
