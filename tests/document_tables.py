"""The tables of the documents, made from folders and code; `python -m tests.document_tables` writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from analysis import gates, percentiles, statistics
from gatebench import config, measure
from gatebench.model import CAPABILITIES
from gatebench.plan import PROFILES
from gatebench.registry import load_registry
from gatebench.runner import Budget
from loadtests.engine.http_connection import REMEMBERED_BYTES
from loadtests.engine.loop import ERROR_PAUSE_NS
from loadtests.engine.target import Target

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = dict(re.findall(r"^([a-z-]+):.*## (.+)$", MAKEFILE, re.MULTILINE))
REGISTRY = load_registry(ROOT)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table, a line a row."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def targets_table() -> str:
    return table(("command", "does"), [(f"`make {name}`", text) for name, text in TARGETS.items()])


def profiles_table() -> str:
    rows = [
        (f"`{each.name}`", str(each.blocks), f"{each.budget_s / 60:g} min", str(each.max_rounds or "–"))
        for each in PROFILES.values()
    ]
    return table(("profile", "blocks", "budget after set-up", "most rounds of a level in a block"), rows)


def subjects_table() -> str:
    rows = []
    for subject in REGISTRY.subjects():
        variant = subject.variant
        settings = f"tuned: {variant.why}" if variant.tuned else "default"
        name = f"[{subject.id}]({subject.server.homepage})"
        can = ["yes" if each in variant.supports else "–" for each in CAPABILITIES]
        rows.append((name, variant.interface.upper(), *can, settings))
    return table(("subject", "interface", *CAPABILITIES, "settings"), rows)


def workloads_table() -> str:
    rows = []
    for workload in REGISTRY.workloads.values():
        connections = ", ".join(str(level.connections) for level in workload.levels)
        request = f"`{workload.request.method} {workload.request.path}`"
        slice_text = f"{workload.slice_s * 1000:g} ms"
        kind = "yes" if workload.saturates else "no"
        rows.append(
            (f"`{workload.name}`", request, connections, slice_text, kind, f"{workload.description}.")
        )
    return table(("workload", "request", "connections", "slice", "a capacity", "what it asks"), rows)


def gates_table() -> str:
    rows = [
        (f"`{gate.code}`", gate.fails_when, f"{gate.limit:g}", gate.next_step.rstrip("."))
        for gate in gates.GATES
    ]
    return table(("code", "fails when", "limit", "next step"), rows)


def numbers_table() -> str:
    samples = [percentiles.MIN_SAMPLES[name] for name in percentiles.QUANTILES]
    budget, target = Budget(cores=()), Target("127.0.0.1", 0, "close")
    rows = [
        ("cut off at each end of a block's slices", f"{statistics.TRIM:.0%}"),
        ("confidence of an interval", f"{statistics.CONFIDENCE:.0%}"),
        ("adjusted p under which a difference may be one", f"{statistics.SIGNIFICANCE:g}"),
        ("effect up to which everything is a tie", f"{statistics.MIN_EFFECT - 1:.0%}"),
        ("blocks that a verdict needs", str(statistics.MIN_BLOCKS)),
        ("latencies that p50, p90, p99 and p99.9 need", ", ".join(f"{count:,}" for count in samples)),
        ("shortest slice of a workload that waits", f"{config.SERVICE_TIMES_PER_SLICE} service times"),
        ("time after which an unanswered request is a timeout", f"{target.timeout_s:g} s"),
        ("rest of a connection after a failure", f"{ERROR_PAUSE_NS / 1e6:g} ms"),
        ("largest answer that is recognised whole", f"{REMEMBERED_BYTES // 1024} KiB"),
        ("time a server has to get ready", f"{measure.READY_TIMEOUT_S:g} s"),
        ("worker processes, and threads where a server uses them", f"{budget.workers}, {budget.threads}"),
    ]
    return table(("number", "value"), rows)


TABLES: dict[tuple[str, str], Callable[[], str]] = {
    ("README.md", "targets"): targets_table,
    ("README.md", "subjects"): subjects_table,
    ("README.md", "workloads"): workloads_table,
    ("METHOD.md", "profiles"): profiles_table,
    ("METHOD.md", "gates"): gates_table,
    ("METHOD.md", "numbers"): numbers_table,
}


def between(text: str, name: str) -> re.Match[str]:
    """The text between a pair of markers, as the only group."""
    found = re.search(rf"(?<=<!-- {name}:begin -->\n)(.*?)(?=<!-- {name}:end -->)", text, re.DOTALL)
    assert found is not None, f"the markers of {name} are missing"
    return found


def write_tables() -> None:
    """Writes every table anew into its document."""
    for (document, name), make in TABLES.items():
        path = ROOT / document
        text = path.read_text(encoding="utf-8")
        start, end = between(text, name).span()
        path.write_text(f"{text[:start]}{make()}\n{text[end:]}", encoding="utf-8")


if __name__ == "__main__":
    write_tables()
