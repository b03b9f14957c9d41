"""Whose a container is: the label by which a later start knows what was left behind."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path

from gatebench.processes import Owner, pid_namespace


@dataclass(frozen=True, slots=True)
class ContainerOwner:
    """A lab as containers are labelled with it: on an engine that several machines use, also whose machine.

    Attributes:
        machine: tells machines apart, without naming them; on one machine, also those process namespaces
            that number their processes anew, such as a container in which a lab runs.
    """

    machine: str
    owner: Owner

    @classmethod
    def this(cls, owner: Owner | None = None) -> ContainerOwner:
        """A lab of this machine; by default the one that runs this code."""
        return cls(_machine_mark(), owner or Owner.this())

    def __str__(self) -> str:
        return f"{self.machine}.{self.owner}"


def is_left_over(label: str, also: Owner | None) -> bool:
    """Whether a container so labelled belongs to a lab of this machine that no longer runs.

    Args:
        label: its value.
        also: an owner to sweep up after although it still runs.
    """
    machine, _, text = label.partition(".")
    owner = Owner.parse(text)
    # A person's own containers are labelled too, with no owner; another machine's owner cannot be looked up.
    if owner is None or machine != _machine_mark():
        return False
    return owner == also or not owner.alive


def _machine_mark() -> str:
    path = Path("/etc/machine-id")
    text = path.read_text().strip() if path.exists() else ""
    named = f"{text or platform.node()} {pid_namespace()}"
    return hashlib.sha256(named.encode()).hexdigest()[:12]
