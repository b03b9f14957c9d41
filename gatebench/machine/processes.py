"""Finds and ends the processes that a lab started, by a mark in their environment that children inherit.

The mark names the lab's process ID and its start time, so that a later run, or the watch process, can tell
what was left behind by a lab that was killed from what belongs to one that is still running.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

OWNER_VARIABLE = "GATEBENCH_OWNER"
STOP_VARIABLE = "GATEBENCH_STOP"
"""Names the signal by which a process ends at once and leaves nothing, where that is not SIGKILL."""
SCRATCH_PREFIX = "gatebench-"
EXEC_CHECKS = 20
EXEC_CHECK_S = 0.001
KILL_TIMEOUT_S = 2.0
KILL_CHECK_S = 0.01
END_TIMEOUT_S = 10.0
"""PostgreSQL gives its own processes 5 s before it ends them by force."""
MOST_LOOKS = 50
"""At the threads of a server that is moved; one that starts threads all the time has as many chances."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A lab process, told apart from a later one with the same ID by its start time in clock ticks."""

    pid: int
    start_ticks: int

    @classmethod
    def this(cls) -> Owner:
        """The lab that runs this code."""
        return cls(os.getpid(), _start_ticks(os.getpid()) or 0)

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """The reverse of `str`; None for anything else."""
        pid, _, ticks = text.partition("-")
        return cls(int(pid), int(ticks)) if pid.isdigit() and ticks.isdigit() else None

    def __str__(self) -> str:
        return f"{self.pid}-{self.start_ticks}"

    @property
    def alive(self) -> bool:
        """Whether that lab is still running."""
        return _start_ticks(self.pid) == self.start_ticks

    def scratch(self) -> Path:
        """A new temporary folder that carries this owner's mark in its name."""
        folder = Path(tempfile.mkdtemp(prefix=f"{SCRATCH_PREFIX}{self}-"))
        # Started by root, Apache serves as another user and must be able to pass through.
        folder.chmod(0o755)
        return folder


def _start_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (proc(5), field 22 of `stat`), or None."""
    stat = _stat(pid)
    return None if not stat or stat[1] == "Z" else int(stat[20])


def _stat(pid: int) -> list[str]:
    """Name, state and all that follows in a process's `stat` (proc(5) counts from 2 here); empty if gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    name, _, rest = text.partition("(")[2].rpartition(")")
    return [name, *rest.split()]


def pid_namespace(pid: int | str = "self") -> str:
    """The namespace that a process is numbered in (pid_namespaces(7)); empty where that cannot be told."""
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def marked_processes() -> dict[int, Owner]:
    """Every process of this user that carries a mark: process ID → its owner.

    Those of a container are left out: its labs have other numbers there, and are not to be taken for dead.
    """
    found: dict[int, Owner] = {}
    ours = pid_namespace()
    for pid in psutil.pids():
        owner = Owner.parse(_variable(pid, OWNER_VARIABLE))
        if owner is not None and pid_namespace(pid) == ours:
            found[pid] = owner
    return found


def _variable(pid: int, name: str) -> str:
    """A variable of the environment that a process was started with; empty where it has none."""
    needle = f"{name}=".encode()
    for variable in _environment(pid).split(b"\0"):
        if variable.startswith(needle):
            return variable[len(needle) :].decode("ascii", "replace")
    return ""


def _environment(pid: int) -> bytes:
    """A process's environment as it was started; empty when the process is gone or somebody else's.

    Linux shows an empty one too for an instant, while a new process is exchanging its program: ask again.
    """
    for _ in range(EXEC_CHECKS):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return b""
        if environment or not _has_memory(pid):
            return environment
        time.sleep(EXEC_CHECK_S)
    return b""


def _has_memory(pid: int) -> bool:
    """Whether a process has an address space: not the kernel's own, and not ended (proc(5), `statm`)."""
    try:
        return not Path(f"/proc/{pid}/statm").read_bytes().startswith(b"0 ")
    except OSError:
        return False


def sweep(*, also: Owner | None = None) -> tuple[int, ...]:
    """Kills what labs that no longer run have left behind, and removes their temporary folders.

    Args:
        also: an owner to sweep up after although it still runs.

    Returns:
        The IDs of the killed processes.
    """

    def is_left_over(owner: Owner) -> bool:
        return owner == also or not owner.alive

    marked = [pid for pid, owner in marked_processes().items() if is_left_over(owner) and pid != os.getpid()]
    # A process that shows a title in place of its environment, as PostgreSQL's do, is known by its parent.
    family = (child for pid in marked if _variable(pid, STOP_VARIABLE) for child in tree(pid))
    leftover = list(dict.fromkeys((*marked, *family)))
    _ask_to_end(marked)
    kill(leftover)
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH_PREFIX}*"):
        owner = Owner.parse(folder.name.removeprefix(SCRATCH_PREFIX).rpartition("-")[0])
        if owner is not None and is_left_over(owner):
            shutil.rmtree(folder, ignore_errors=True)
    return tuple(leftover)


def _ask_to_end(pids: Iterable[int]) -> None:
    """Sends those that name a signal (`STOP_VARIABLE`) that signal, and waits until they have ended."""
    asked = []
    for pid in pids:
        if name := _variable(pid, STOP_VARIABLE):
            with suppress(ProcessLookupError):
                os.kill(pid, signal_number(name))
                asked.append(pid)
    end_s = time.monotonic() + END_TIMEOUT_S
    while any(map(_lives, asked)) and time.monotonic() < end_s:
        time.sleep(KILL_CHECK_S)


def kill(pids: Iterable[int]) -> None:
    """Kills processes at once and waits until they have ended, two seconds at most.

    One whose parent is gone may stay as a zombie until init looks after it, which some take seconds for.
    """
    processes = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            process.kill()
        except psutil.NoSuchProcess:
            continue
        processes.append(process)
    end_s = time.monotonic() + KILL_TIMEOUT_S
    while processes and time.monotonic() < end_s:
        _, there = psutil.wait_procs(processes, timeout=KILL_CHECK_S)
        processes = [process for process in there if _lives(process.pid)]


def _lives(pid: int) -> bool:
    stat = _stat(pid)
    return bool(stat) and stat[1] not in {"Z", "X"}


def tree(pid: int) -> tuple[int, ...]:
    """A process and all its descendants; empty when it is gone."""
    try:
        process = psutil.Process(pid)
        return (pid, *(child.pid for child in process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return ()


def move(pid: int, cores: Sequence[int], to: Sequence[int]) -> None:
    """Puts every thread of a process and of its descendants from some cores on others.

    A thread that had chosen among its cores keeps its choice among the others, core by core. What is started
    meanwhile is found by the next look; after one that finds nothing more, all that they start inherits `to`.

    Args:
        pid: the process.
        cores: where it was started.
        to: as many others.

    Raises:
        PermissionError: a thread is somebody else's.
        TimeoutError: after `MOST_LOOKS` looks there still are threads elsewhere.
    """
    for _ in range(MOST_LOOKS):
        elsewhere = {task: found for task in _tasks(tree(pid)) if (found := _affinity(task)) - {*to}}
        if not elsewhere:
            return
        for task, found in elsewhere.items():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(task, moved(found, cores, to))
    raise TimeoutError(f"after {MOST_LOOKS} looks {len(elsewhere)} of its threads still run on other cores")


@contextmanager
def kept_to(cores: Iterable[int]) -> Iterator[None]:
    """Keeps every thread of this process to these cores, as far as it may use them; else to those it has."""
    allowed = os.sched_getaffinity(0)
    _put({*cores} & allowed or allowed)
    try:
        yield
    finally:
        _put(allowed)


def _put(cores: Collection[int]) -> None:
    for task in _tasks([os.getpid()]):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(task, cores)


def moved(found: Collection[int], cores: Sequence[int], to: Sequence[int]) -> set[int]:
    """The cores of a thread that was on `found`, once what was on `cores` is on `to`."""
    places = dict(zip(cores, to, strict=True))
    return {places.get(core, core) for core in found} & {*to} or {*to}


def _tasks(pids: Iterable[int]) -> Iterator[int]:
    """The threads of processes, by their IDs."""
    for pid in pids:
        with suppress(OSError):  # it has ended
            yield from (int(path.name) for path in Path(f"/proc/{pid}/task").iterdir())


def _affinity(task: int) -> set[int]:
    """The cores that a thread may run on; none when it is gone."""
    try:
        return os.sched_getaffinity(task)
    except ProcessLookupError:
        return set()


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds that processes have used, all their threads included, to the nanosecond.

    Linux encodes a process's CPU clock in its ID, as clock_getcpuclockid(3) does.

    Raises:
        ProcessLookupError: one of them is gone.
    """
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime((~pid << 3) | 2)
        except OSError as error:
            raise ProcessLookupError(pid, f"process {pid} is gone") from error
    return total


def cpu_of_family_s(pid: int) -> float | None:
    """CPU seconds of a process and of all its children, those that have ended included; None when it is gone.

    A child that ends between two readings counts in whole ticks from then on, up to one less than before.
    """
    if not _stat(pid):
        return None
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        listed = [str(child) for child in tree(pid)[1:]]
    used_s = ended_children_s([pid])
    for each in (pid, *map(int, listed)):
        with suppress(ProcessLookupError):
            used_s += cpu_s([each])
    return used_s


def ended_children_s(pids: Sequence[int]) -> float:
    """CPU seconds of children of these processes that have ended, such as a program that a request runs.

    The kernel adds them up at each child's end and tells them in ticks (proc(5), `cutime` and `cstime`).
    """
    ticks = 0
    for pid in pids:
        if stat := _stat(pid):
            ticks += int(stat[14]) + int(stat[15])
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Running:
    """What a process has done.

    Attributes:
        cpu_s: its CPU seconds, in whole ticks.
        core: the core that it ran on last.
    """

    name: str
    cpu_s: float
    core: int


def everything_running() -> dict[int, Running]:
    """Every process of this machine that can be seen, the kernel's own included: process ID → what it did."""
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    found: dict[int, Running] = {}
    for pid in psutil.pids():
        if stat := _stat(pid):
            found[pid] = Running(stat[0], (int(stat[12]) + int(stat[13])) * tick_s, int(stat[37]))
    return found


def busiest(
    before: Mapping[int, Running], after: Mapping[int, Running], cores: Sequence[int], but: Collection[int]
) -> str:
    """The process that ran most on `cores` between two looks: `python3 (process 4711)`; empty for none.

    Args:
        before: the first look.
        after: the second one.
        cores: where a process must have run last.
        but: IDs of processes that are not meant.
    """
    gained = {
        pid: running.cpu_s - (before[pid].cpu_s if pid in before else 0.0)
        for pid, running in after.items()
        if running.core in cores and pid not in but
    }
    pid = max(gained, key=lambda each: gained[each], default=None)
    return "" if pid is None or gained[pid] <= 0 else f"{after[pid].name} (process {pid})"


def memory_mib(pids: Sequence[int]) -> float:
    """Resident memory of processes in MiB, pages they share counted once (PSS), for the lab's own."""
    return _rollup_mib(pids, "Pss") or 0.0


def anonymous_mib(pids: Sequence[int]) -> float | None:
    """Anonymous memory of processes in MiB: heaps and stacks, with pages that forks share counted once.

    Mapped files are left out: their pages belong to whoever else has them open, so that a server's figure
    would depend on which others run beside it. A control group counts the same of a container.

    Returns:
        None where the kernel does not say (before Linux 5.4), or all of them have ended.
    """
    return _rollup_mib(pids, "Pss_Anon")


def _rollup_mib(pids: Sequence[int], key: str) -> float | None:
    """The sum of one line of each process's smaps_rollup."""
    found_kib = []
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it ended; `cpu_s` is what notices that
        found_kib += [int(line.split()[1]) for line in lines if line.startswith(f"{key}:")]
    return sum(found_kib) / 1024 if found_kib else None


def shared_objects(maps: str, names: Collection[str]) -> frozenset[str]:
    """Those of the named packages of which a compiled module is mapped.

    Args:
        maps: a process's `/proc/PID/maps` (proc(5)): a line a mapping, the file's path last.
        names: of packages; a module lies in the package's folder (`uvloop/loop.cpython-313-….so`), or is the
            package (`zttp.abi3.so`).
    """
    paths = {path for line in maps.splitlines() if (path := line.partition("/")[2]).endswith(".so")}
    tops = {path.partition("-packages/")[2].split("/")[0].split(".")[0] for path in paths}
    return frozenset(name for name in names if name in tops)


def threads(status: str) -> int:
    """How many threads a process has, of its `/proc/PID/status` (proc(5)); 0 where it does not say."""
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("Threads:"))


@dataclass(frozen=True, slots=True)
class Composition:
    """What a server consists of; None where that cannot be read.

    Attributes:
        processes, threads: how many; all threads of all its processes.
        mapped: packages of `gatebench.words.footing.SHARED_OBJECTS` of which any process has mapped a module.
    """

    processes: int | None = None
    threads: int | None = None
    mapped: tuple[str, ...] | None = None


def composition(pids: Sequence[int], names: Collection[str]) -> Composition:
    """What these processes have, without those that have ended."""
    statuses = [text for pid in pids if (text := _file(pid, "status"))]
    maps = [text for pid in pids if (text := _file(pid, "maps"))]
    if not statuses:
        return Composition()
    mapped = frozenset().union(*(shared_objects(text, names) for text in maps)) if maps else None
    return Composition(
        len(statuses), sum(map(threads, statuses)), None if mapped is None else tuple(sorted(mapped))
    )


def _file(pid: int, name: str) -> str:
    """A file of a process; empty where it is gone or somebody else's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def peak_memory_mib(pid: int) -> float:
    """The most resident memory that a process has had in MiB, shared pages included; 0 when it is gone.

    The maximum that wait4(2) reports would be its parent's, where that is higher: it is kept over exec.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def signal_number(name: str) -> signal.Signals:
    """`TERM` → signal.SIGTERM."""
    return signal.Signals[f"SIG{name}"]


STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_once() -> None:
    """From now on the first such signal raises KeyboardInterrupt and the later ones are ignored.

    What follows the first is bounded clean-up, which a second signal would only leave half done.
    """
    for number in STOPPING:
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
