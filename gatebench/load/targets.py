"""From a cell and the server that is up for it to what the load engine sends and must get back."""

from __future__ import annotations

from dataclasses import replace

from gatebench.contract.rules import Contract
from gatebench.load.process import LoadCell
from gatebench.runners.base import Instance
from gatebench.words.model import Cell, Level, Request, Transport, Workload
from loadtests.engine.protocol import Target


def load_cell(
    cell: Cell, instance: Instance, contract: Contract, *, connections: int | None = None
) -> LoadCell:
    """What the load process is told of a cell.

    Args:
        cell: the cell; its subject's ID is the load cell's name, as a level has each subject once.
        instance: its server.
        contract: what the server must answer.
        connections: another number than the level's.
    """
    return LoadCell(
        name=cell.subject.id,
        connections=cell.level.connections if connections is None else connections,
        target=(
            None
            if cell.workload.locustfile
            else target_of(cell.workload, cell.level, contract, instance.host, instance.port)
        ),
        locustfile=cell.workload.locustfile,
        host=f"http://{instance.host}:{instance.port}",
        # WebSockets wait for their handshakes, and `close` keeps no connection: they come one by one anyway.
        transport=cell.workload.transport,
        options=cell.workload.options,
        apart=instance.workers > 1 and cell.workload.transport == "keep-alive",
    )


def target_of(workload: Workload, level: Level, contract: Contract, host: str, port: int) -> Target:
    """What the engine sends to a server under a workload, and what it must get back."""
    request, transport = workload.request, workload.transport
    if transport == "websocket":
        return Target(
            host,
            port,
            transport,
            path=request.path,
            exchange=request.exchange,
            message_bytes=request.message_bytes,
            window=level.window,
        )
    asked = [each for request in workload.requests for each in request.asked]
    first, *others = (_target(each, transport, contract, host, port) for each in asked)
    return replace(first, others=tuple(others))


def _target(request: Request, transport: Transport, contract: Contract, host: str, port: int) -> Target:
    """One request, and the answer that its workload or the contract has for it."""
    answer = request.answer
    if answer is None:
        target = http_target(contract, host, port, transport, request.method, request.path, request.body)
        return replace(target, share=request.share)
    if answer.body is None:
        raise ValueError(f"{request.name}: its answer was not learned")
    return Target(
        host,
        port,
        transport,
        method=request.method,
        path=request.path,
        body=request.body,
        status=answer.status,
        headers={"content-type": answer.content_type} if answer.content_type else {},
        answer=answer.body,
        authority=dict(request.headers).get("host", ""),
        request_headers=tuple(each for each in request.headers if each[0] != "host"),
        varies=answer.varies,
        share=request.share,
    )


def http_target(
    contract: Contract, host: str, port: int, transport: Transport, method: str, path: str, body: bytes = b""
) -> Target:
    """A request over HTTP, and the answer that the contract has for it.

    Raises:
        ConfigurationError: the contract has none.
    """
    expected = contract.expect(method, path, body)
    return Target(
        host,
        port,
        transport,
        method=method,
        path=path,
        body=body,
        status=expected.status,
        headers=dict(expected.headers),
        answer=expected.body,
    )
