"""What the load tools print, as figures. A run with an error gives none: a rate with errors is no rate."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from gatebench.words.errors import GatebenchError

QUOTED_LINES = 15


class BenchmarkError(GatebenchError):
    """A client or a server of the benchmark failed; carries what it said."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What a client says of its run: correct answers in all, and its own rate."""

    requests: int
    rate_per_s: float


def failed(who: str, what: str, output: str) -> BenchmarkError:
    """The error of one client: its name, what is wrong, and the last lines that it printed."""
    lines = [line for line in output.splitlines() if line.strip()]
    quoted = "\n".join(f"  | {line}" for line in lines[-QUOTED_LINES:]) or "  | (nothing)"
    return BenchmarkError(f"{who}: {what}. It said:\n{quoted}")


def parse_wrk(output: str) -> Counted:
    """Reads wrk 4's summary. It checks status codes and no bodies.

    Raises:
        BenchmarkError: an answer was not 2xx or 3xx, a socket failed, or there was no answer.
    """
    for trouble in ("Non-2xx or 3xx responses:", "Socket errors:"):
        if trouble in output:
            raise failed("wrk", "it met errors", output)
    requests = _number("wrk", r"^\s*(\d+) requests in ", output)
    return _counted("wrk", requests, _number("wrk", r"^Requests/sec:\s*([\d.]+)", output), output)


def parse_h2load(output: str) -> Counted:
    """Reads the summary of h2load 1 (nghttp2). It checks status codes and no bodies.

    It stays silent about a connection that could not be opened or was closed between requests; whoever runs
    it must see to it that the server outlives the run.

    Raises:
        BenchmarkError: an answer was not 2xx, a request failed, or there was no answer.
    """
    pattern = r"^requests: .*?(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout"
    match = re.search(pattern, output, re.MULTILINE)
    if match is None:
        raise failed("h2load", "there is no summary", output)
    done, succeeded, *bad = (int(count) for count in match.groups())
    answered = _number("h2load", r"^status codes: (\d+) 2xx", output)
    if any(bad) or not done == succeeded == answered:
        raise failed("h2load", "it met errors", output)
    rate_per_s = _number("h2load", r"^finished in .*?, ([\d.]+) req/s", output)
    return _counted("h2load", done, rate_per_s, output)


def parse_ab(output: str, *, keep_alive: bool) -> Counted:
    """Reads the summary of ApacheBench 2. It checks status codes and that all bodies have one length.

    Args:
        output: all that it printed.
        keep_alive: it ran with `-k`, so every request must be a keep-alive one; without it, none may be.

    Raises:
        BenchmarkError: a request failed, was not 2xx, or went the other way; or there was no answer.
    """
    requests = _number("ab", r"^Complete requests:\s+(\d+)", output)
    kept = re.search(r"^Keep-Alive requests:\s+(\d+)", output, re.MULTILINE)
    failures = _number("ab", r"^Failed requests:\s+(\d+)", output)
    if failures or "Non-2xx responses:" in output or "Write errors:" in output:
        raise failed("ab", "it met errors", output)
    if (int(kept[1]) if kept else 0) != (requests if keep_alive else 0):
        raise failed("ab", "its connections were not kept, or kept, as asked", output)
    rate_per_s = _number("ab", r"^Requests per second:\s+([\d.]+)", output)
    return _counted("ab", requests, rate_per_s, output)


def parse_own(who: str, output: str) -> tuple[Counted, float]:
    """Reads the one line of this package's own clients that begins with a brace, a JSON object.

    It has `requests` and `failures` of the client's whole life, and `counted`, `counted_s` and `cpu_s` of the
    time in which it counted.

    Returns:
        What it counted, and CPU microseconds per request while it counted.

    Raises:
        BenchmarkError: it counted a failure or no answer, or printed no such line.
    """
    try:
        said = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
        counted, counted_s, cpu_s = int(said["counted"]), float(said["counted_s"]), float(said["cpu_s"])
        failures = said["failures"]
    except (StopIteration, ValueError, KeyError) as error:
        raise failed(who, "it printed no report of its own", output) from error
    if failures:
        raise failed(who, "it met errors", output)
    if not counted:
        raise failed(who, "it got no answer", output)
    return Counted(int(said["requests"]), counted / counted_s), cpu_s / counted * 1e6


def parse_h2load_log(log: str, *, connections: int) -> list[int]:
    """Reads `h2load --log-file`: start in microseconds since 1970, status, microseconds, between tabs.

    Args:
        log: the file's text.
        connections: how many there were.

    Returns:
        Latencies in microseconds, without the first `connections` requests, which are the connections' first.

    Raises:
        BenchmarkError: a request did not end with 200.
    """
    rows = sorted(tuple(int(field) for field in line.split("\t")) for line in log.splitlines())
    wrong = [row for row in rows if row[1] != 200]
    if wrong:
        raise failed("h2load", f"{len(wrong)} requests of its log did not end with 200", str(wrong[:5]))
    return [row[2] for row in rows[connections:]]


def _number(who: str, pattern: str, output: str) -> float:
    match = re.search(pattern, output, re.MULTILINE)
    if match is None:
        raise failed(who, f"nothing in its output matches {pattern!r}", output)
    return float(match[1])


def _counted(who: str, requests: float, rate_per_s: float, output: str) -> Counted:
    if not requests:
        raise failed(who, "it got no answer", output)
    return Counted(int(requests), rate_per_s)
