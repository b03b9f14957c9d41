"""On what, how and when a run was measured, in words: for captions and for the page."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from analysis.figures.footing import footing_in_words
from analysis.words import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analysis.figures.results import LevelResult
    from analysis.reading.run import Run
    from gatebench.results.schema import LevelPlan, RunMeta, WorkloadMeta
    from gatebench.results.surroundings import EngineMeta, ImageMeta, LimitsMeta


_NETWORKS = {
    "host": "host: load generator and servers use the loopback interface of the engine's machine",
    "bridge": "bridge: load generator and servers share a virtual network of the engine",
}
_LOOPBACK = "127.0.0.1"
_MACHINE = {
    "system": "System",
    "kernel": "Kernel",
    "distribution": "Distribution",
    "architecture": "Architecture",
    "cpu": "Processor",
    "cores": "Processor cores",
    "memory_mib": "Memory",
    "virtualization": "Virtualization",
    "container": "Container that the lab itself was in",
    "python": "Python",
    "libc": "C library",
    "somaxconn": "Longest listen queue (somaxconn)",
    "cpu_governor": "CPU frequency governor",
    "load_average_1m": "Load average at the start, 1 min",
}
_CONTAINERS = frozenset(
    {
        *("docker", "podman", "lxc", "lxc-libvirt", "systemd-nspawn", "openvz"),
        *("rkt", "wsl", "proot", "pouch", "container-other"),
    }
)
"""What systemd-detect-virt calls kinds of containers."""
_OF_THE_LAB = frozenset({"container"})
"""Where servers were containers, whoever looked at the machine was in the load generator's."""
_OF_ONE_PYTHON = frozenset({"python", "libc"})
"""Facts of who looked at the machine, which say nothing of servers in images of their own."""


def conditions(run: Run, level: LevelResult) -> str:
    """On what, how and when: the caption under every chart."""
    meta = run.meta
    machine = meta.machine
    known = [str(machine["cpu"]) if machine.get("cpu") else "", _virtual_machine(meta)]
    if machine.get("container") and not meta.in_containers:
        known.append(f"the lab itself in a container ({machine['container']})")
    known.append(str(machine["system"]) if machine.get("system") else "")
    workers = "1 worker process" if meta.workers == 1 else f"{meta.workers} worker processes"
    where = ", ".join(
        [*filter(None, known), f"cores: {_cores(meta)}", runner_in_words(meta), f"{workers} a server"]
    )
    blocks = max((cell.blocks for cell in level.cells), default=0)
    load = _loaded(level.plan, meta.workload(level.workload))
    how = f"{load}; {run.progress(blocks)}{_rounds(level)}; seed {meta.seed}"
    what = f"Run {meta.run}, {meta.started[:10]}, Gatebench {meta.gatebench}."
    text = f"This machine's figures: {where}.\n{how}. {what}"
    return "\n".join(filter(None, (text, footing_in_words(meta, level))))


def _cores(meta: RunMeta) -> str:
    """`server 1, engine 2, lab 1`; where two roles share theirs, `server 1, engine and lab 1`."""
    roles: dict[frozenset[int], list[str]] = defaultdict(list)
    for role, numbers in meta.cores:
        roles[frozenset(numbers)].append(role)
    return ", ".join(f"{' and '.join(who)} {len(numbers)}" for numbers, who in roles.items())


def _virtual_machine(meta: RunMeta) -> str:
    """What is known of a hypervisor, for a caption; empty where that is nothing.

    A single word comes from a version that stored what systemd-detect-virt said. Of a kind of container it
    said no more than that the machine bore such marks, and a reader would take it for the runner.
    """
    found = str(meta.machine.get("virtualization") or "")
    return "" if found in _CONTAINERS else _in_words(found)


def _in_words(virtualization: str) -> str:
    if virtualization in _CONTAINERS:
        return f"not certain: the lab's machine bore marks of a container ({virtualization})"
    known = {"": "", "none": "no hypervisor seen", "hypervisor": "a virtual machine"}
    if virtualization in known:
        return known[virtualization]
    return virtualization if " " in virtualization else f"a virtual machine ({virtualization})"


def _rounds(level: LevelResult) -> str:
    if level.plan.model == "idle":
        return ""
    fewest, most = level.rounds
    rounds = str(most) if fewest == most else f"{fewest} to {most}"
    plural = "" if rounds == "1" else "s"
    return f" of {rounds} round{plural} of {level.plan.slice_s * 1000:.0f} ms slices"


def _loaded(plan: LevelPlan, workload: WorkloadMeta) -> str:
    """How a level was loaded."""
    if plan.model == "idle":
        return f"{plan.load.capitalize()}, held open in {len(workload.steps)} steps"
    if plan.model == "locust":
        return f"{plan.load}, each of which waits for its answer and then as long as its file says"
    if plan.model == "closed":
        return f"{plan.load}, closed loop"
    spacing = {"poisson": "Poisson arrivals", "constant": "evenly spaced"}[workload.arrivals]
    left = f"open loop: requests left at their moments ({spacing})"
    if plan.model == "objective":
        return f"Search for {plan.load}, {left}, at rates that a search chose slice by slice"
    share = plan.capacity_share
    of = f" ({share:.0%} of what {workload.reference} does in a closed loop)" if share else ""
    return f"{plan.load}{of}, {left}, the same for every subject"


def runner_in_words(meta: RunMeta) -> str:
    """What ran the servers; of containers also their Python: `Docker 20.10 (host network), Python 3.13.5`."""
    engine = meta.engine
    if engine is None or not engine.short:
        return f"{meta.runner} runner"
    network = f" ({meta.network} network)" if meta.network else ""
    pythons = sorted(_subjects_by(meta, "python"), key=_by_number)
    return f"{engine.short}{network}" + (f", Python {names(pythons)}" if pythons else "")


def memory_note(meta: RunMeta) -> str:
    """What the figures of the servers' memory count."""
    if meta.in_containers:
        return (
            "Server memory is the anonymous memory of the server's container (its cgroup): what its "
            "processes hold for themselves, without cached and mapped files. The peak is the most that the "
            "container has had since it was started, cached files and earlier workloads included."
        )
    if meta.counts_anonymous:
        return (
            "Server memory is the anonymous memory of the server's processes: what they hold for themselves, "
            "without cached and mapped files; pages that they share with each other are counted once."
        )
    return (
        "Server memory is the resident memory of the server's processes (PSS). Pages that they share with "
        "others, with other servers too, are divided between them."
    )


def container_facts(meta: RunMeta) -> list[tuple[str, str]]:
    """What is known of the containers of a run, each with its name; empty where servers were processes."""
    facts = {
        "Container engine": _engine(meta.engine),
        "Network": _network(meta),
        "Each server may use": _limits(meta.limits),
        "Python of the servers": _by_value(meta, "python"),
        "libc of the servers": _by_value(meta, "libc"),
        "Load generator": _image(meta.load_image),
    }
    return [(name, value) for name, value in facts.items() if value]


def _network(meta: RunMeta) -> str:
    """Which network, and which of its addresses."""
    if meta.network == "host" and meta.server_host not in {"", _LOOPBACK}:
        return f"host: servers listened at {meta.server_host}, for load from other machines"
    return _NETWORKS.get(meta.network, meta.network)


def machine_facts(meta: RunMeta) -> list[tuple[str, str]]:
    """What is known of the machine; Python and libc only where the servers have none of their own.

    A fact that could not be had says so. One that this version does not know keeps its own name.
    """
    apart = {name for name in _OF_ONE_PYTHON if _subjects_by(meta, name)}
    apart |= _OF_THE_LAB if meta.in_containers else set()
    return [
        (_MACHINE.get(name, name), "not known" if value is None else _with_unit(name, value))
        for name, value in meta.machine.items()
        if name not in apart
    ]


def _with_unit(name: str, value: object) -> str:
    if name.endswith("_mib") and isinstance(value, int | float):
        return f"{value:,.0f} MiB"
    if name == "virtualization":
        return _in_words(str(value))
    return str(value)


def _engine(engine: EngineMeta | None) -> str:
    if engine is None:
        return ""
    api = f" (API {engine.api})" if engine.api else ""
    system = f" on {engine.system}" if engine.system else ""
    parts = (
        f"{engine.name} {engine.version}{api}{system}".strip(),
        f"cgroup v{engine.cgroup}" if engine.cgroup else "",
        f"storage {engine.storage}" if engine.storage else "",
        f"Compose {engine.compose}" if engine.compose else "",
        "on another machine than the lab" if engine.remote else "",
    )
    return ", ".join(filter(None, parts))


def _limits(limits: LimitsMeta | None) -> str:
    if limits is None:
        return ""
    parts = (
        f"{limits.memory_mib:,.0f} MiB of memory" if limits.memory_mib else "",
        f"{limits.pids:,} processes and threads" if limits.pids else "",
    )
    return " and ".join(filter(None, parts))


def _image(image: ImageMeta | None) -> str:
    if image is None:
        return ""
    python = f"Python {image.python}" if image.python else ""
    return ", ".join(filter(None, (image.name, image.short_id, python, image.libc)))


def _subjects_by(meta: RunMeta, what: str) -> Mapping[str, list[str]]:
    """What the subjects' images say of one thing → the subjects; without those whose image does not say."""
    subjects: dict[str, list[str]] = defaultdict(list)
    for subject in meta.subjects:
        value = getattr(subject.image, what) if subject.image else ""
        if value:
            subjects[value].append(subject.id)
    return subjects


def _by_value(meta: RunMeta, what: str) -> str:
    """The one value, or each value with its subjects."""
    found = _subjects_by(meta, what)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{value} ({names(subjects)})" for value, subjects in found.items())


def _by_number(version: str) -> list[int]:
    return [int(part) if part.isdecimal() else 0 for part in version.split(".")]
