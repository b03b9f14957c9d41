"""Keeps what a run learned of answers, byte for byte, so that its every block is held to the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatebench.words.errors import GatebenchError
from gatebench.words.model import OwnAnswer
from loadtests.engine.masked import masked

FOLDER = "answers"
INDEX = "answers.json"


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned of one request of one workload.

    Attributes:
        number: of the request in its workload, from 0.
        request: `GET /api/items`.
        subjects: IDs of those that gave this answer.
        others: ID of a subject → how its answer differs, or why there was none.
    """

    workload: str
    number: int
    request: str
    answer: OwnAnswer
    subjects: tuple[str, ...]
    others: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """What `json` can carry, without the body's bytes."""
        body = self.answer.body or b""
        return {
            "workload": self.workload,
            "number": self.number,
            "request": self.request,
            "status": self.answer.status,
            "content_type": self.answer.content_type,
            "varies": list(self.answer.varies),
            "bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
            "subjects": list(self.subjects),
            "others": dict(self.others),
        }


def keep_answers(run: Path, learned: Sequence[Learned]) -> None:
    """Writes what was learned into a run's folder.

    Raises:
        OSError: it could not be written.
    """
    if not learned:
        return
    folder = run / FOLDER
    folder.mkdir()
    entries = [each.to_json() for each in learned]
    for each, entry in zip(learned, entries, strict=True):
        (folder / entry["sha256"]).write_bytes(each.answer.body or b"")
    (folder / INDEX).write_text(json.dumps(entries, indent=1, ensure_ascii=False), encoding="utf-8")


def kept_answers(run: Path) -> tuple[Learned, ...]:
    """What a run has learned; nothing where it had nothing to learn.

    Raises:
        GatebenchError: a file is missing, or is not what was learned.
    """
    folder = run / FOLDER
    if not folder.is_dir():
        return ()
    try:
        entries = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return tuple(_learned(folder, entry) for entry in entries)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise GatebenchError(f"{folder}: what the run learned of answers is damaged: {error!r}") from error


def _learned(folder: Path, entry: Mapping[str, Any]) -> Learned:
    body = (folder / entry["sha256"]).read_bytes()
    if hashlib.sha256(body).hexdigest() != entry["sha256"]:
        raise ValueError(f"{entry['sha256']} has other bytes")
    answer = OwnAnswer(entry["status"], entry["content_type"], body, tuple(entry["varies"]))
    return Learned(
        entry["workload"],
        entry["number"],
        entry["request"],
        answer,
        tuple(entry["subjects"]),
        entry["others"],
    )


def compared(there: Sequence[Learned], here: Sequence[Learned]) -> list[str]:
    """A sentence on each answer that was learned twice: whether it is the same."""
    known = {(each.workload, each.number): each for each in there}
    return [
        f"{each.workload}: {each.request}: {_verdict(other.answer, each.answer)}"
        for each in here
        if (other := known.get((each.workload, each.number))) is not None
    ]


def _verdict(there: OwnAnswer, here: OwnAnswer) -> str:
    old, new = there.body or b"", here.body or b""
    if (there.status, there.content_type) != (here.status, here.content_type):
        return (
            f"DIFFERS: {there.status} {there.content_type or 'without a type'} there, "
            f"{here.status} {here.content_type or 'without a type'} here"
        )
    if old == new:
        return f"the same answer, {len(new):,} bytes"
    mask = masked(old, there.varies)
    if mask is not None and mask.holds(new):
        return f"the same answer but for what varies, {len(new):,} bytes"
    return f"DIFFERS: {len(old):,} bytes there, {len(new):,} here"
