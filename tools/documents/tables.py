"""The tables of the documents, of folders and code; `python -m tools.documents` writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from statistics import median

from analysis.figures import gates, leads, statistics
from gatebench.machine.cores import ENGINES
from gatebench.registry.registry import load_registry
from gatebench.registry.workloads import SERVICE_TIMES_PER_SLICE
from gatebench.runners import readiness
from gatebench.words.model import CAPABILITIES, INTERFACES, Workload
from gatebench.words.options import Budget
from gatebench.words.paths import ROOT
from gatebench.words.plan import PROFILES, Profile
from loadtests.engine.answers import REMEMBERED_BYTES
from loadtests.engine.group import LINE_PATIENCE_NS
from loadtests.engine.protocol import Target
from loadtests.engine.slot import ERROR_PAUSE_NS
from loadtests.engine.tally import MIN_SAMPLES, QUANTILES
from tools.documents.guide import TABLES as QUOTED

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = dict(re.findall(r"^([a-z-]+):.*## (.+)$", MAKEFILE, re.MULTILINE))
OPTIONS = re.findall(r"^OPTIONS := ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)[0].replace("\\", "").split()
"""Make's variables that stand for options of the command."""
VARIABLES = {*OPTIONS, "NAME", "COMMAND", "PYTHON"}
REGISTRY = load_registry(ROOT)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table, a line a row."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def targets_table() -> str:
    """Make's targets and what each does."""
    return table(("command", "does"), [(f"`make {name}`", text) for name, text in TARGETS.items()])


def profiles_table() -> str:
    """The profiles, with blocks, budget and rounds."""
    rows = [
        (f"`{each.name}`", blocks_of(each), f"{each.budget_s / 60:g} min", str(each.max_rounds or "–"))
        for each in PROFILES.values()
    ]
    return table(("profile", "blocks", "budget after set-up", "most rounds of a level in a block"), rows)


def blocks_of(profile: Profile) -> str:
    """`10`, or `5 to 10` where that depends on the budget."""
    return f"{profile.least_blocks} to {profile.blocks}" if profile.least_blocks else str(profile.blocks)


def subjects_table() -> str:
    """The subjects, with what they support, what they must run on and how they are started."""
    rows = []
    for subject in REGISTRY.subjects():
        variant = subject.variant
        settings = f"tuned: {variant.why}" if variant.tuned else "default"
        name = f"[{subject.id}]({subject.server.homepage})"
        can = ["yes" if each in variant.supports else "–" for each in CAPABILITIES]
        settings += "" if variant.selected else "; by name"
        rows.append((name, variant.interface.upper(), *can, variant.expects.in_words or "–", settings))
    return table(("subject", "interface", *CAPABILITIES, "runs on", "settings"), rows)


def applications_table() -> str:
    """The applications, with their forms and what they answer."""
    rows = []
    for name, each in REGISTRY.applications.items():
        forms = " and ".join(form.upper() for form in INTERFACES if each.form(form))
        routes = "the whole contract" if each.routes is None else f"{len(each.routes)} routes"
        title = f"[{each.title}]({each.homepage})" if each.homepage else each.title or "without a framework"
        rows.append((f"`{name}`", title, forms, routes))
    return table(("application", "what it is", "forms", "answers"), rows)


def load_in_words(workload: Workload) -> str:
    """The load of a workload in a few words."""
    level, levels = workload.levels[0], workload.levels
    over = f"over {level.connections}"
    if level.model == "open":
        return f"{' and '.join(f'{each.rate_per_s:,.0f}' for each in levels)} requests/s {over}"
    if level.model == "ladder":
        shares = ", ".join(f"{(each.capacity_share or 0):.0%}" for each in levels)
        return f"{shares} of what {workload.reference} does, {over}"
    if level.objective is not None:
        limit = f"p{level.objective.percentile:g} within {level.objective.limit_s * 1000:g} ms"
        return f"the highest rate with {limit}, {over}"
    if workload.steps:
        return f"{', '.join(f'{step:,}' for step in workload.steps)} idle"
    if workload.locustfile:
        return f"{level.connections} users of a Locust file"
    windows = [str(each.window) for each in levels if each.window > 1]
    return f"{level.connections}" + (f", windows of {' and '.join(windows)}" if windows else "")


def workloads_table() -> str:
    """The workloads, with load, slices and profiles."""
    rows = []
    for workload in REGISTRY.workloads.values():
        asked = workload.request
        request = "a Locust file" if workload.locustfile else f"`{asked.method} {asked.path}`"
        slice_text = f"{workload.slice_s * 1000:g} ms"
        kind = "yes" if workload.saturates else "no"
        profiles = (
            "all"
            if len(workload.profiles) == len(PROFILES)
            else ", ".join(name for name in PROFILES if name in workload.profiles)
        )
        name, what = f"`{workload.name}`", f"{workload.description}."
        rows.append((name, request, load_in_words(workload), slice_text, kind, profiles, what))
    head = ("workload", "request", "connections", "slice", "a capacity", "profiles", "what it asks")
    return table(head, rows)


def gates_table() -> str:
    """The gates, with limit and next step."""
    rows = [
        (f"`{gate.code}`", gate.fails_when, f"{gate.limit:g}", gate.speaks_of, gate.next_step.rstrip("."))
        for gate in gates.GATES
    ]
    return table(("code", "fails when", "limit", "what it does", "next step"), rows)


def numbers_table() -> str:
    """The limits and sizes that METHOD names."""
    samples = [MIN_SAMPLES[name] for name in QUANTILES]
    budget, target = Budget(cores=()), Target("127.0.0.1", 0, "close")
    rows = [
        ("cut off at each end of a block's slices", f"{statistics.TRIM:.0%}, at least one"),
        ("confidence of an interval", f"{statistics.CONFIDENCE:.0%}"),
        ("chance of any false difference in a level", f"{statistics.SIGNIFICANCE:g}"),
        ("effect up to which everything is a tie", f"{statistics.MIN_EFFECT - 1:.0%}"),
        ("blocks that an interval or a verdict needs", str(statistics.MIN_BLOCKS)),
        ("latencies that p50, p90, p99 and p99.9 need", ", ".join(f"{count:,}" for count in samples)),
        (
            "shortest slice of a workload that waits",
            f"{SERVICE_TIMES_PER_SLICE} service times",
        ),
        ("time after which an unanswered request is a timeout", f"{target.timeout_s:g} s"),
        ("rest of a connection after a failure", f"{ERROR_PAUSE_NS / 1e6:g} ms"),
        ("time after the window in which the line may still leave", f"{LINE_PATIENCE_NS / 1e9:g} s"),
        ("latencies that a block needs for its p99", f"{leads.MIN_TAIL_SAMPLES:,}"),
        ("slices that a search needs after its second turn", str(leads.MIN_SETTLED)),
        ("load engines, where cores are free", str(ENGINES)),
        ("largest answer that is recognised whole", f"{REMEMBERED_BYTES // 1024} KiB"),
        ("time a server has to get ready", f"{readiness.READY_TIMEOUT_S:g} s"),
        ("worker processes, and threads where a server uses them", f"{budget.workers}, {budget.threads}"),
    ]
    return table(("number", "value"), rows)


def engine_table() -> str:
    """The comparisons of `docs/engine/bench.json`: each client's median, and the ratios turn by turn."""
    comparisons = json.loads((ROOT / "docs" / "engine" / "bench.json").read_text(encoding="utf-8"))[
        "comparisons"
    ]
    rows: list[tuple[str, ...]] = []
    for name, runs in comparisons.items():
        if name == "latency":
            continue
        ours = [run["rate_per_s"] for run in runs if run["client"] == runs[0]["client"]]
        for client in dict.fromkeys(run["client"] for run in runs):
            own = [run for run in runs if run["client"] == client]
            rates = [run["rate_per_s"] for run in own]
            rate = f"{median(rates):,.0f}"
            cpu_us = f"{median(run['cpu_us_per_request'] for run in own):.1f} µs"
            busy = f"{median(run['server_busy'] for run in own):.0%}"
            rows.append((name, client, rate, cpu_us, busy, spread(ours, rates) if rates != ours else "–"))
    for quantile in ("p50", "p99"):
        for client in ("engine", "h2load"):
            own = [run for run in comparisons["latency"] if run["client"] == client]
            seen, true = ([run[side][quantile] for run in own] for side in ("client_us", "server_us"))
            rows.append(
                (f"{quantile} of 10 ms", client, f"{median(seen):,.0f} µs", "–", "–", spread(seen, true))
            )
    return table(
        ("comparison", "client", "requests/s", "CPU a request", "server", "ratio (least to greatest)"), rows
    )


def spread(ours: list[float], theirs: list[float]) -> str:
    """The median and the range of the ratios, turn by turn."""
    ratios = [mine / its for mine, its in zip(ours, theirs, strict=True)]
    return f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


TABLES: dict[tuple[str, str], Callable[[], str]] = {
    ("docs/reference.md", "targets"): targets_table,
    ("docs/reference.md", "subjects"): subjects_table,
    ("docs/reference.md", "applications"): applications_table,
    ("docs/reference.md", "workloads"): workloads_table,
    ("docs/method/plan.md", "profiles"): profiles_table,
    ("docs/method/gates.md", "gates"): gates_table,
    ("docs/method/statistics.md", "numbers"): numbers_table,
    ("docs/method/validation.md", "engine"): engine_table,
    **QUOTED,
}


def between(text: str, name: str) -> re.Match[str]:
    """The text between a pair of markers, as the only group.

    Raises:
        ValueError: the document lacks one of them.
    """
    found = re.search(rf"(?<=<!-- {name}:begin -->\n)(.*?)(?=<!-- {name}:end -->)", text, re.DOTALL)
    if found is None:
        raise ValueError(f"the markers of {name} are missing")
    return found


def write_tables() -> None:
    """Writes every table anew into its document."""
    for (document, name), make in TABLES.items():
        path = ROOT / document
        text = path.read_text(encoding="utf-8")
        start, end = between(text, name).span()
        path.write_text(f"{text[:start]}{make()}\n{text[end:]}", encoding="utf-8")
