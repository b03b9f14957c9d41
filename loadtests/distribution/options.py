"""The options that the Locust file adds to Locust's command line, checked before anything starts."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, ClassVar

from locust.argument_parser import LocustArgumentParser

from gatebench.contract.file import load_contract
from gatebench.words.errors import ConfigurationError

CONTRACT = load_contract(Path(__file__).resolve().parents[2] / "apps" / "contract.toml")


def contract_path(text: str) -> str:
    """A path that the contract has a fixed answer for."""
    try:
        CONTRACT.expect("GET", text)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def core_numbers(text: str) -> tuple[int, ...]:
    """`1,2` → (1, 2), each one a core that a process can be pinned to."""
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} must be core numbers such as 1 or 1,2")
    cores = tuple(map(int, parts))
    wrong = [core for core in cores if not _exists(core)]
    if wrong:
        raise argparse.ArgumentTypeError(
            f"there is no core {', '.join(map(str, wrong))} for this process, which may use "
            f"{', '.join(map(str, sorted(os.sched_getaffinity(0))))}"
        )
    return cores


def writable_file(text: str) -> str:
    """A file in a folder that exists."""
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} must name a file in a folder that exists")
    return text


def _exists(core: int) -> bool:
    """Whether a process may run there: a lab's processes are let on few cores, and yet may choose another."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {core})
    except (OSError, OverflowError):
        return False
    os.sched_setaffinity(0, before)
    return True


class EngineCores(argparse.Action):
    """Collects the cores of a repeated option.

    `given` remembers what this process was told: when a test starts, a master's options replace its workers'
    own, and its cores are not theirs.
    """

    given: ClassVar[tuple[int, ...]] = ()

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's signature
        namespace: argparse.Namespace,
        values: Any,
        _: Any = None,
    ) -> None:
        """Adds the cores of one occurrence."""
        cores = (*(getattr(namespace, self.dest) or ()), *values)
        if len(set(cores)) < len(cores):
            raise argparse.ArgumentError(self, "a core is named twice; give each engine its own")
        setattr(namespace, self.dest, cores)
        EngineCores.given = cores


def add_options(parser: LocustArgumentParser) -> None:
    """Adds the options to Locust's command line, and the path to its web form."""
    group = parser.add_argument_group("Gatebench")
    group.add_argument(
        "--path", type=contract_path, default="/plaintext", help="a GET route of apps/contract.toml"
    )
    cores: dict[str, Any] = {"metavar": "CORES", "type": core_numbers, "action": EngineCores, "default": None}
    parser.add_argument(
        "--engine-cpu",
        **cores,
        include_in_web_ui=False,
        help="cores to run load engines on, one engine each: 1 or 1,2; each worker has its own",
    )
    parser.add_argument(
        "--exact-json",
        metavar="FILE",
        type=writable_file,
        include_in_web_ui=False,
        help="where to write, at the test's end, what all workers counted, to the microsecond",
    )
