"""What a synthetic run says of its containers, in `run.json` and in its slices."""

from __future__ import annotations

import hashlib
from typing import Any

ENGINE = {
    "name": "Docker",
    "version": "20.10.24",
    "api": "1.41",
    "system": "Debian GNU/Linux 12",
    "cgroup": "1",
    "storage": "overlay2",
    "remote": False,
    "compose": "2.26.1",
}
PYTHON = "3.13.5"
PEAK_MIB = 66.6


def run_keys() -> dict[str, Any]:
    """The keys of a whole run in containers, in place of those of processes."""
    return {
        "runner": "docker",
        "runner_reason": "a Docker engine answers",
        "network": "host",
        "engine": dict(ENGINE),
        "limits": {"memory_mib": 1024, "pids": 1024},
        "load_image": image("loadgen"),
    }


def image(server: str, python: str = PYTHON) -> dict[str, Any]:
    """The image of a server folder."""
    digest = hashlib.sha256(server.encode()).hexdigest()
    return {
        "id": f"sha256:{digest}",
        "name": f"gatebench/{server}:{digest[-12:]}",
        "base": "python:3.13-slim",
        "base_id": f"sha256:{digest[::-1]}",
        "size_mib": 42.1,
        "python": python,
        "libc": "glibc 2.41",
    }
