"""Null responders as subjects of a run: in its rounds they show the instrument's own limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gatebench.contract.rules import Contract
from gatebench.load.targets import target_of
from gatebench.words.model import (
    CAPABILITIES,
    DEFAULT_VARIANT,
    LIMIT,
    Application,
    Cell,
    Level,
    Server,
    Subject,
    Variant,
    Workload,
)
from gatebench.words.paths import HOST, ROOT
from loadtests.engine.protocol import Target

FOLDER = ROOT / "loadtests" / "null_server"
OWN_COMMAND = ("-m", "loadtests.null_server", "--host", "{host}", "--port", "{port}")
"""Arguments of a Python that start the lab's own null responder."""


def responder_subject(name: str, command: tuple[str, ...], files: Mapping[str, str] | None = None) -> Subject:
    """A null responder as a runner starts it.

    Args:
        name: what it is, for a person.
        command: argument vector with the placeholders of a variant's.
        files: of its working folder, with the same placeholders.
    """
    variant = Variant(
        name=DEFAULT_VARIANT,
        interface="wsgi",
        command=command,
        tuned=False,
        why="",
        supports=frozenset(CAPABILITIES),
        stop="TERM",
        needs=(),
        files=files or {},
    )
    server = Server(
        name=f"{name.replace(' ', '-')}{LIMIT}",
        folder=FOLDER,
        homepage="",
        variants=(variant,),
        requirements=FOLDER / "requirements.txt",
        pinned=True,
    )
    return Subject(server, variant, Application(name, FOLDER, ROOT, None, None), responder=name)


def responder_cells(
    workloads: Sequence[Workload], contract: Contract, responder_for: Callable[[Target], Subject]
) -> list[Cell]:
    """A cell for each level in which a null responder shows what the instrument can do.

    Not where a request waits by design, which a responder does not; nor where a search chooses the rate,
    where connections idle, and where a Locust file or a workload's own requests ask for what no responder
    knows.

    Args:
        workloads: those of the run.
        contract: whose answers it gives.
        responder_for: which responder answers a target.
    """
    return [
        Cell(responder_for(target_of(workload, level, contract, HOST, 0)), workload, level)
        for workload in workloads
        for level in workload.levels
        if _shows_a_limit(workload, level)
    ]


def _shows_a_limit(workload: Workload, level: Level) -> bool:
    known = not workload.own_requests and not workload.service_s
    return level.model in {"closed", "open", "ladder"} and level.has_rate and known
