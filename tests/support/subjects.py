"""The tests' own servers as subjects, and a subject whose server is any command."""

from __future__ import annotations

from dataclasses import replace

from gatebench.registry.registry import load_registry
from gatebench.words.model import Subject
from gatebench.words.paths import ROOT
from tests.support.lab import SUPPORT

REGISTRY = load_registry(ROOT, servers_dirs=[SUPPORT / "servers"])
SUBJECTS = {subject.id: subject for subject in REGISTRY.subjects()}


def running(*command: str, stop: str = "TERM") -> Subject:
    """A subject whose server is that command, in the environment of the honest one."""
    honest = SUBJECTS["honest-wsgi"]
    variant = replace(honest.variant, name="scripted", command=command, stop=stop, environment={"OWN": "1"})
    return replace(honest, variant=variant)
