"""Answers that a workload itself says or learns: asks for them, holds servers to them, agrees on them.

A learned answer is what the servers answer: the same each time, and most of them the same as each other.
Its status, its content type and its body are held to from then on, byte for byte but for what was declared to
vary. Nothing is guessed: where servers disagree and no answer has a majority, nobody is right.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from typing import Any

from gatebench.contract.probe import CLOSE, HttpProbe, Received, WireError
from gatebench.contract.verify import Difference
from gatebench.words.model import OwnAnswer, Request
from loadtests.engine.masked import Masked, masked

TIMES = 5
"""How often each request is asked of each server; twice over one connection, where that is kept."""
EACH_TIME = "it answers otherwise each time"
SHOWN = 60
"""Bytes of a body around a difference."""
BEFORE = 24
MOST_CONTEXT = 80
_CONTEXT = re.compile(rb"(?:[!-;=?-~]+[ \t]+)?[!-;=?-~]*\Z")
"""What a proposed pattern begins with: the word before what varies, and the one before that."""
KINDS = ("[0-9.:]+", "[0-9a-f-]+", "[0-9A-Za-z]+", "[0-9A-Za-z_.:+/=-]+")
"""What may vary at the end of a body, where no byte after it ends it: a number, hexadecimal digits, words."""
_TOKEN = re.compile(rb"[0-9A-Za-z_.:+/-]")


@dataclass(frozen=True, slots=True)
class Told:
    """One answer, or why there was none.

    Attributes:
        encoding: the Content-Encoding; empty for none.
        error: empty, or what went wrong.
        location: of a redirect, to where; empty for none.
    """

    status: int = 0
    content_type: str = ""
    encoding: str = ""
    body: bytes = b""
    error: str = ""
    location: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """What one server told of one request: its different answers, in the order in which they first came."""

    subject: str
    told: tuple[Told, ...]


class DisagreementError(Exception):
    """No answer to a request can be expected; the text says why, and what to do."""


def told_values(told: Told) -> dict[str, Any]:
    """One answer as `json` can carry it; the reverse of `told_of`."""
    return {**asdict(told), "body": b64encode(told.body).decode()}


def told_of(values: Mapping[str, Any]) -> Told:
    """The answer that `told_values` described."""
    return Told(**{**values, "body": b64decode(values["body"])})


def request_values(request: Request) -> dict[str, Any]:
    """A request with its answer as `json` can carry it; the reverse of `request_of`."""
    values = asdict(request)
    values["body"] = b64encode(request.body).decode()
    if request.answer is not None and request.answer.body is not None:
        values["answer"]["body"] = b64encode(request.answer.body).decode()
    return values


def request_of(values: Mapping[str, Any]) -> Request:
    """The request that `request_values` described."""
    answer = values["answer"]
    if answer is not None:
        body = None if answer["body"] is None else b64decode(answer["body"])
        answer = OwnAnswer(answer["status"], answer["content_type"], body, tuple(answer["varies"]))
    headers = tuple((name, value) for name, value in values["headers"])
    return Request(**{**values, "body": b64decode(values["body"]), "headers": headers, "answer": answer})


def ask_for(host: str, port: int, request: Request, *, keeps: bool, timeout_s: float) -> tuple[Told, ...]:
    """Asks for one request several times; returns the different answers.

    Args:
        host: where the server listens.
        port: where the server listens.
        request: what to ask.
        keeps: whether the server keeps connections open, so that it is also asked twice over one.
        timeout_s: for one answer, in seconds.
    """
    over_one = 2 if keeps else 0
    told = [_ask(host, port, request, 1, timeout_s) for _ in range(TIMES - over_one)]
    if over_one:
        told.append(_ask(host, port, request, over_one, timeout_s))
    return tuple(dict.fromkeys(each for several in told for each in several))


def _ask(host: str, port: int, request: Request, times: int, timeout_s: float) -> list[Told]:
    """So many answers over one connection, up to an error."""
    told: list[Told] = []
    try:
        with HttpProbe(host, port, timeout_s) as probe:
            for number in range(1, times + 1):
                last = CLOSE if number == times else ()
                headers = (*request.headers, *last)
                told.append(_told(probe.ask(request.method, request.path, request.body, headers=headers)))
    except WireError as error:
        told.append(Told(error=str(error)))
    return told


def _told(received: Received) -> Told:
    encoding = received.header("content-encoding") or ""
    return Told(
        received.status,
        received.header("content-type") or "",
        "" if encoding.lower() == "identity" else encoding,
        received.body,
        location=received.header("location") or "",
    )


def ask_right(host: str, port: int, request: Request, timeout_s: float) -> tuple[Difference, ...]:
    """The differences of one answer, which come without being asked for again.

    Raises:
        WireError: there was none.
    """
    with HttpProbe(host, port, timeout_s) as probe:
        headers = (*request.headers, *CLOSE)
        received = probe.ask(request.method, request.path, request.body, headers=headers)
    return differences(request, _told(received))


def differences(request: Request, told: Told) -> tuple[Difference, ...]:
    """What of an answer is not as its workload says; of one that has yet to be learned, what cannot be."""
    answer = request.answer or OwnAnswer()
    name = request.name
    if told.error:
        return (Difference(name, "connection", "an answer", told.error),)
    found = []
    if told.status != answer.status:
        found.append(Difference(name, "status", str(answer.status), f"{told.status}{_why(told)}"))
    if told.encoding and not any(key == "accept-encoding" for key, _ in request.headers):
        step = "nobody asked for it; switch it off, or ask with headers = {accept-encoding = …}"
        got = f"{told.encoding!r}: {step}"
        found.append(Difference(name, "header content-encoding", "none", got))
    if found or answer.body is None:
        return tuple(found)
    if answer.content_type and told.content_type != answer.content_type:
        got = repr(told.content_type) if told.content_type else "none"
        found.append(Difference(name, "header content-type", repr(answer.content_type), got))
    if at := _body_difference(answer.body, told.body, answer.varies):
        found.append(Difference(name, "body", _excerpt(answer.body, at[0]), _excerpt(told.body, at[1])))
    return tuple(found)


def _why(told: Told) -> str:
    """What a refusal says of itself, as far as it fits into a line, and what to do about such an answer."""
    declare = f"declare status = {told.status} in [answer] of a workload of your own (--workloads-dir)"
    if told.location:
        return f" to {told.location!r}; ask for the path to which it leads, or {declare}"
    if told.status < HTTPStatus.BAD_REQUEST:
        return f"; if that is right, {declare}"
    text = re.sub(r"<[^>]*>|\s+", " ", told.body[:2000].decode("utf-8", "replace"))
    text = re.sub(r" +", " ", text).strip()
    return f" ({text[:SHOWN]}{'…' if len(text) > SHOWN else ''})" if text else ""


def _body_difference(expected: bytes, got: bytes, varies: tuple[str, ...]) -> tuple[int, int] | None:
    if expected == got:
        return None
    mask = masked(expected, varies) or Masked(expected, ())
    return mask.difference(got)


def _excerpt(body: bytes, at: int) -> str:
    begin = max(0, at - BEFORE)
    return f"{body[begin : begin + SHOWN]!r} ({len(body):,} bytes, differs from {at:,} on)"


def agree(request: Request, heard: Sequence[Heard]) -> tuple[OwnAnswer, dict[str, str]]:
    """What most servers answer to a request, each the same each time.

    Args:
        request: says what is known of the answer: its status, and what varies.
        heard: what each server told; of distinct subjects.

    Returns:
        The answer, and ID of a subject → how it differs, of those that answered otherwise.

    Raises:
        DisagreementError: no server answers alike each time, or no answer is that of most of them.
    """
    wrong: dict[str, str] = {}
    steady: list[tuple[Heard, OwnAnswer]] = []
    for each in heard:
        found, why = _steady(request, each)
        if found is None:
            wrong[each.subject] = why
        else:
            steady.append((each, found))
    sides: list[tuple[OwnAnswer, list[str]]] = []
    for each, answer in steady:
        side = next((subjects for said, subjects in sides if not _against(request, said, each.told[0])), None)
        if side is None:
            sides.append((answer, [each.subject]))
        else:
            side.append(each.subject)
    sides.sort(key=lambda side: -len(side[1]))
    if not sides:
        raise DisagreementError("\n".join(_of_all(wrong)))
    expected, most = sides[0]
    for each, _ in steady:
        if each.subject not in most:
            wrong[each.subject] = _lines(_against(request, expected, each.told[0]))
    if 2 * len(most) <= len(steady):
        raise DisagreementError(_undecided(sides, wrong, {each.subject: each for each, _ in steady}))
    return expected, wrong


def _of_all(wrong: Mapping[str, str]) -> list[str]:
    """Why no server has an answer; what all say in the same words is said once."""
    alike: dict[str, list[str]] = {}
    for subject, why in wrong.items():
        alike.setdefault(EACH_TIME if why.startswith(EACH_TIME) else why, []).append(subject)
    lines = []
    for first, *others in alike.values():
        lines.append(f"{first}: {wrong[first]}")
        lines += [f"and so do {', '.join(others)}"] if others else []
    return lines


def _steady(request: Request, heard: Heard) -> tuple[OwnAnswer | None, str]:
    """What a server answers each time, or None and why that cannot be expected of anybody."""
    first, *more = heard.told
    if found := differences(request, first):
        return None, _lines(found)
    declared = request.answer or OwnAnswer()
    answer = replace(declared, content_type=declared.content_type or first.content_type, body=first.body)
    for other in more:
        if found := _against(request, answer, other):
            advice = _advice(declared.varies, first.body, other.body)
            return None, f"{EACH_TIME}: {_lines(found)}\n  {advice}"
    if declared.content_type and first.content_type != declared.content_type:
        return None, _lines(_against(request, answer, first))
    return answer, ""


def _against(request: Request, answer: OwnAnswer, told: Told) -> tuple[Difference, ...]:
    return differences(replace(request, answer=answer), told)


def _undecided(
    sides: Sequence[tuple[OwnAnswer, list[str]]],
    wrong: Mapping[str, str],
    heard: Mapping[str, Heard],
) -> str:
    """Answers side by side, none of which has a majority."""
    lines = [f"{len(sides)} different answers, and none is that of most servers:"]
    first, (second, others) = sides[0], sides[1]
    lines += [f"  {', '.join(subjects)}: one answer" for _, subjects in sides]
    lines += [f"  {others[0]} beside {first[1][0]}: {wrong[others[0]]}"]
    told = heard[others[0]].told[0]
    if told.status == first[0].status and second.content_type == first[0].content_type:
        lines.append(f"  {_advice(first[0].varies, first[0].body or b'', told.body)}")
    lines.append(
        "  or measure them apart, or say which is right: [answer] with its body in a workload's folder"
    )
    return "\n".join(lines)


def _advice(varies: tuple[str, ...], one: bytes, other: bytes) -> str:
    """What to declare, where something lets both bodies through."""
    if pattern := proposed(varies, one, other):
        return (
            f"if that varies by nature, declare it: --varies='{pattern}' (in a workload's [answer]: varies)"
        )
    return "if that varies by nature, declare it: --varies='regex …' (in a workload's [answer]: varies)"


def proposed(varies: tuple[str, ...], one: bytes, other: bytes) -> str:
    """A regular expression that takes two bodies for the same answer; empty where no simple one does."""
    found = Masked(one, varies).difference(other)
    if found is None:
        return ""
    begin = end = min(found[0], len(one))
    while begin > 0 and _TOKEN.match(one, begin - 1):
        begin -= 1
    while end < len(one) and _TOKEN.match(one, end):
        end += 1
    found_before = _CONTEXT.search(one, max(0, begin - MOST_CONTEXT), begin)
    before = found_before[0] if found_before else b""
    after = one[end : end + 1]
    if begin == end or not before.isascii() or b"'" in before or not after.isascii():
        return ""
    stop = {b"\n": r"\n", b"\r": r"\r"}.get(after) or re.escape(after.decode())
    for kind in (f"[^{stop}]+",) if stop else KINDS:
        pattern = _escaped(before.decode()) + kind
        with suppress(ValueError):
            if Masked(one, (*varies, pattern)).holds(other):
                return pattern
    return ""


def _escaped(text: str) -> str:
    """The text as a pattern, without backslashes where none is needed: a person reads it."""
    escaped = re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text)
    return escaped.replace(" ", r"\s")  # a variable with several patterns is split at spaces


def _lines(found: Sequence[Difference]) -> str:
    return "; ".join(f"{each.aspect}: expected {each.expected}, got {each.got}" for each in found)
