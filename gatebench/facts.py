"""What is observed about the machine, the software and the sources of a run."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import psutil

PACKAGES = ("locust", "gevent", "h11", "wsproto", "pandas", "numpy", "scipy", "pyarrow", "matplotlib", "uv")


def machine() -> dict[str, str | int | float | None]:
    """The machine as its kernel describes it; None where it does not say."""
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "distribution": _os_release().get("PRETTY_NAME"),
        "architecture": platform.machine(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_mib": round(psutil.virtual_memory().total / 2**20),
        "virtualization": _virtualization(),
        "python": platform.python_version(),
        "libc": " ".join(platform.libc_ver()),
        "somaxconn": _first_line("/proc/sys/net/core/somaxconn"),
        "cpu_governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load_average_1m": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that measure and compute."""
    return {name: metadata.version(name) for name in PACKAGES}


def content_hash(*folders: Path) -> str:
    """SHA-256 over the names and contents of the folders' source files, in a fixed order."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(_sources(folder)):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources(folder: Path) -> Iterable[Path]:
    return (
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix in {".py", ".toml", ".txt", ".html"}
        and "__pycache__" not in path.parts
    )


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _cpu_model() -> str | None:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _virtualization() -> str | None:
    try:
        answer = subprocess.run(
            ["systemd-detect-virt"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        flags = Path("/proc/cpuinfo")
        return "hypervisor" if flags.exists() and " hypervisor" in flags.read_text() else None
    return answer.stdout.strip() or None


def _first_line(path: str) -> str | None:
    file = Path(path)
    return file.read_text().splitlines()[0] if file.exists() else None
