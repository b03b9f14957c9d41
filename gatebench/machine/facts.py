"""What is observed about the machine, the software and the sources of a run."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

import psutil

from gatebench.words.paths import ROOT

LOAD_SIDE = (
    "loadtests/*.py",
    "loadtests/engine",
    "loadtests/swarm",
    "loadtests/scenarios",
    "gatebench/contract",
    "gatebench/machine",
    "gatebench/words",
)
"""What a Locust worker runs: it must be the same wherever the load comes from."""
INSTRUMENT = (
    *LOAD_SIDE,
    "loadtests/null_server",
    "gatebench/load",
    "gatebench/registry",
    "gatebench/results",
    "gatebench/run",
    "gatebench/runners",
    "servers/launch.py",
)
"""What decides figures: who sends and counts, when, on which cores, and how a server is started and read."""

PACKAGES = ("locust", "gevent", "h11", "wsproto", "pandas", "numpy", "scipy", "pyarrow", "matplotlib", "uv")

_FIRST_NAMESPACES = {"pid": "pid:[4026531836]", "cgroup": "cgroup:[4026531835]"}
"""What Linux calls the namespaces that it starts with (`PROC_PID_INIT_INO` in include/linux/proc_ns.h)."""
_MARKS = {".dockerenv": "docker", "run/.containerenv": "podman"}
_VIRTUAL_MAKERS = frozenset({"QEMU", "VMware, Inc.", "innotek GmbH", "Xen", "Bochs", "Parallels"})
"""What firmware calls its maker where that makes none but virtual machines."""
_NOTHING_SAID = frozenset({"", "none", "vm-other", "container-other"})


def machine() -> dict[str, str | int | float | None]:
    """The machine as its kernel describes it; None where it does not say.

    `container` is there only where this process is in one.
    """
    inside = container()
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "distribution": _os_release().get("PRETTY_NAME"),
        "architecture": platform.machine(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_mib": round(psutil.virtual_memory().total / 2**20),
        "virtualization": virtualization(),
        **({"container": inside} if inside else {}),
        "python": platform.python_version(),
        "libc": " ".join(platform.libc_ver()),
        "somaxconn": _first_line(Path("/proc/sys/net/core/somaxconn")),
        "cpu_governor": _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "load_average_1m": round(os.getloadavg()[0], 2),
    }


def virtualization(root: Path = Path("/"), detects: Callable[[str], str] | None = None) -> str | None:
    """`a virtual machine (kvm)`: whether a hypervisor runs the kernel, and its kind where that is known.

    Args:
        root: where /proc and /sys are looked for.
        detects: answers as systemd-detect-virt does; None for that itself.

    Returns:
        None where nothing is known; that of a machine on which systemd looked for one says that it saw none.
    """
    said = (detects or _systemd_detects)("--vm")
    if said not in _NOTHING_SAID:
        return f"a virtual machine ({said})"
    flags = root / "proc/cpuinfo"
    flagged = flags.exists() and re.search(r"^flags\b.* hypervisor\b", flags.read_text(), re.MULTILINE)
    maker = _first_line(root / "sys/class/dmi/id/sys_vendor")
    hypervisor = _first_line(root / "sys/hypervisor/type")
    if not (flagged or hypervisor or maker in _VIRTUAL_MAKERS or said == "vm-other"):
        return "no hypervisor seen" if said == "none" else None
    kind = hypervisor or _first_line(root / "sys/class/dmi/id/product_name") or maker
    return f"a virtual machine ({kind})" if kind else "a virtual machine"


def container(root: Path = Path("/"), detects: Callable[[str], str] | None = None) -> str | None:
    """The kind of container that this process is in, as `docker`; None outside of one, as far as can be seen.

    Files such as /.dockerenv are no evidence: a virtual machine whose disk was made from a container's image
    has them too, and systemd-detect-virt goes by them. An engine gives what it starts a PID or a cgroup
    namespace of its own, or at least a cgroup named with 64 digits. Where one of these is seen, those files
    say of what kind the engine is.
    """
    own = root / "proc/self"
    apart = any(
        _namespace(own / "ns" / name) not in {None, first} for name, first in _FIRST_NAMESPACES.items()
    )
    groups = own / "cgroup"
    named = groups.exists() and re.search(r"[0-9a-f]{64}", groups.read_text())
    if not (apart or named):
        return None
    said = (detects or _systemd_detects)("--container")
    if said not in _NOTHING_SAID:
        return said
    return next((kind for mark, kind in _MARKS.items() if (root / mark).exists()), "kind not known")


def _namespace(link: Path) -> str | None:
    try:
        return str(link.readlink())
    except OSError:
        return None


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


def instrument_hash(root: Path = ROOT) -> str:
    """Tells runs apart that were measured with different code, whatever its version is called.

    Args:
        root: of the sources.
    """
    return _hash_of(root, INSTRUMENT)


def load_side_hash(root: Path = ROOT) -> str:
    """Tells Locust workers apart that would load or count differently; as `instrument_hash`."""
    return _hash_of(root, LOAD_SIDE)


def _hash_of(root: Path, patterns: Iterable[str]) -> str:
    """SHA-256 over the names and contents of the Python files that the patterns name, in a fixed order."""
    named = [path for pattern in patterns for path in root.glob(pattern)]
    files = {file for path in named for file in (path.rglob("*.py") if path.is_dir() else [path])}
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
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


def _systemd_detects(kind: str) -> str:
    """What systemd-detect-virt says of `--vm` or `--container`; empty without it."""
    try:
        answer = subprocess.run(
            ["systemd-detect-virt", kind], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def _first_line(file: Path) -> str | None:
    return next(iter(file.read_text().splitlines()), None) if file.exists() else None
