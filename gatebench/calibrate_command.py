"""`gatebench calibrate`: what the load engine can do on these cores, by transport and size, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gatebench.backend import Backend
from gatebench.calibrate import MIB, Ceiling, Probe, calibrate
from gatebench.contract import Contract, load_contract
from gatebench.cores import Cores
from gatebench.model import Transport
from gatebench.runner import HOST
from gatebench.selection import LoadOptions
from loadtests.engine.target import Target

CONNECTIONS = 64
WINDOW_S = 0.4
SLICES = 5
ANSWER_PATHS = ("/plaintext", "/bytes/1024", "/bytes/65536", "/bytes/1048576")
UPLOAD_BYTES = (65_536, 1_048_576)
MESSAGE_BYTES = (64, 1024, 65_536, 1_048_576)


def table_probes(contract: Contract) -> tuple[Probe, ...]:
    """What `gatebench calibrate` measures: every transport with small and large bodies."""

    def http(transport: Transport, method: str, path: str, body: bytes = b"") -> Probe:
        expected = contract.expect(method, path, body)
        target = Target(
            HOST,
            0,
            transport,
            method=method,
            path=path,
            body=body,
            status=expected.status,
            headers=dict(expected.headers),
            answer=expected.body,
        )
        return Probe(transport, f"{method} {path} {size_text(len(expected.body))}", CONNECTIONS, target)

    def echo(size: int) -> Probe:
        target = Target(HOST, 0, "websocket", path="/ws/echo", message_bytes=size)
        return Probe("websocket", f"/ws/echo {size_text(size)}", CONNECTIONS, target)

    answers = [http(transport, "GET", path) for transport in ("keep-alive", "close") for path in ANSWER_PATHS]
    bodies = [contract.expect("GET", f"/bytes/{size}").body for size in UPLOAD_BYTES]
    uploads = [http("keep-alive", "POST", "/echo", body) for body in bodies]
    return (*answers, *uploads, *(echo(size) for size in MESSAGE_BYTES))


def size_text(size: int) -> str:
    """`13 B`, `64 KiB`, `1 MiB`: whole units where they are whole."""
    for unit, bytes_each in (("MiB", MIB), ("KiB", 1024)):
        if size >= bytes_each and size % bytes_each == 0:
            return f"{size // bytes_each} {unit}"
    return f"{size:,} B"


def ceilings_table(ceilings: Sequence[Ceiling], cores: Cores) -> Table:
    """The ceilings as a table for the terminal; which of the two sides was the limit is its last column."""
    engines = ", ".join(map(str, cores.engine))
    title = f"the engine on core {engines} against the null responder on core {cores.server[0]}"
    table = Table(title=title, title_justify="left")
    table.add_column("transport")
    table.add_column("request")
    for column in ("connections", "answers/s", "lowest", "MiB/s", "engine busy", "responder CPU"):
        table.add_column(column, justify="right")
    table.add_column("limit")
    for ceiling in ceilings:
        table.add_row(
            ceiling.workload,
            ceiling.level,
            str(ceiling.connections),
            f"{ceiling.rate_per_s:,.0f}",
            f"{min(ceiling.rates_per_s):,.0f}",
            f"{ceiling.mib_per_s:,.0f}",
            f"{ceiling.engine_busy_share:.0%}",
            "unknown" if ceiling.responder_cpu_share is None else f"{ceiling.responder_cpu_share:.0%}",
            "unknown: disturbed" if ceiling.disturbed else ceiling.limit,
        )
    return table


def calibrate_command(backend: Backend, scratch: Path, console: Console) -> None:
    """Runs `gatebench calibrate`: measures and prints what the load engine can do on these cores.

    Raises:
        GatebenchError: an answer was late or wrong, or a process ended.
    """
    with backend.open(scratch, LoadOptions()) as ground:
        ground.load.hello()
        with (
            console.status("driving the engine against the null responder"),
            backend.responders(scratch) as responder_of,
        ):
            probes = table_probes(load_contract())
            ceilings = calibrate(ground.load, probes, responder_of, slices=SLICES, window_s=WINDOW_S)
    console.print(ceilings_table(ceilings, backend.cores))
    console.print(
        "Figures of this machine, of now. A server's figure that is over half of such a rate may show the "
        "engine rather than the server; the gate `ceiling` refuses it.",
        soft_wrap=True,
    )
