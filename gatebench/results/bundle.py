"""Packs a run into one small file that can be given away, and unpacks such a file.

It holds what others need to check the run: its raw data, its result and what it was made from. It holds no
logs, and texts that may tell of the machine's owner without their paths, addresses and host names.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gatebench.registry.registry import APPLICATIONS, SERVERS, WORKLOADS, Registry, load_registry
from gatebench.results.answers import FOLDER as ANSWERS
from gatebench.words.errors import ConfigurationError, GatebenchError
from gatebench.words.model import Subject, Workload
from gatebench.words.paths import ROOT

SUFFIX = ".gatebench.zip"
_OBJECTS = ("run.json", "summary.json")
_FOLDERS = ("slices.parquet", "histograms.parquet", "sources", ANSWERS)
_MOST_BYTES = 4 << 30
"""A bundle that unpacks to more is no bundle of a run."""

_PATH = re.compile(r"(?<![\w<])~?/(?:[^\s/'\",:;()<>]+/)+([^\s/'\",:;()<>]+)")
_ADDRESS = re.compile(r"\b(?:tcp|ssh|https?|unix)://[^\s,;'\")]+")
_IP = re.compile(r"\b(?!127\.0\.0\.1\b|0\.0\.0\.0\b)\d{1,3}(?:\.\d{1,3}){3}\b")


def private_removed(text: str) -> str:
    """A text without what tells of its machine: of paths the last part is left, of addresses nothing."""
    text = _ADDRESS.sub("<address>", text)
    text = _IP.sub("<address>", text)
    text = _PATH.sub(r"<path>/\1", text)
    host = socket.gethostname()
    return re.sub(rf"\b{re.escape(host)}\b", "<host>", text) if len(host) > 3 else text


def bundle(run: Path, file: Path) -> Path:
    """Writes the bundle of a finished run.

    Args:
        run: the results folder.
        file: what to write; it must not exist.

    Returns:
        The file.

    Raises:
        GatebenchError: the folder holds no run, or the file exists or cannot be written.
    """
    if not (run / "run.json").is_file():
        raise GatebenchError(f"{run}: no run.json; name a results folder (results/latest is the newest)")
    unfinished = file.with_name(f".{file.name}.tmp")
    try:
        if file.exists():
            raise GatebenchError(f"{file} exists; name another file (--out)")
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in _OBJECTS:
                if (run / name).is_file():
                    archive.writestr(name, _json(json.loads((run / name).read_text(encoding="utf-8"))))
            if (run / "events.jsonl").is_file():
                lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
                archive.writestr("events.jsonl", "".join(_line(line) for line in lines))
            for path in sorted(path for name in _FOLDERS for path in (run / name).rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    archive.write(path, path.relative_to(run).as_posix())
        unfinished.replace(file)
    except (OSError, json.JSONDecodeError) as error:
        raise GatebenchError(f"the bundle {file} could not be written: {error}") from error
    finally:
        with suppress(OSError):  # of a folder that nobody may write to
            unfinished.unlink(missing_ok=True)
    return file


@contextmanager
def unpacked(source: Path) -> Iterator[Path]:
    """A results folder: `source` itself, or what the bundle at `source` holds, which is gone after the block.

    Raises:
        GatebenchError: it is neither, or a file in the bundle would lie outside of it.
    """
    if source.is_dir():
        yield source.resolve()
        return
    if not zipfile.is_zipfile(source):
        raise ConfigurationError(
            f"{source}: is neither a results folder nor a bundle (`gatebench bundle RUN`)"
        )
    with TemporaryDirectory(prefix="gatebench-bundle-") as scratch, zipfile.ZipFile(source) as archive:
        folder = Path(scratch) / source.name.removesuffix(SUFFIX)
        folder.mkdir()
        if sum(each.file_size for each in archive.infolist()) > _MOST_BYTES:
            raise GatebenchError(f"{source}: unpacks to more than {_MOST_BYTES >> 30} GiB; it is no run's")
        for member in archive.infolist():
            target = (folder / member.filename).resolve()
            if not target.is_relative_to(folder.resolve()):
                raise GatebenchError(f"{source}: holds {member.filename!r}, which would lie outside of it")
        try:
            archive.extractall(folder)
        except (OSError, zipfile.BadZipFile) as error:
            raise GatebenchError(f"{source}: cannot be unpacked: {error}") from error
        if not (folder / "run.json").is_file():
            raise GatebenchError(f"{source}: holds no run.json; it is no bundle of a run")
        yield folder


def _line(line: str) -> str:
    """An event; one that was cut off in the middle is left out."""
    try:
        return json.dumps(_cleaned(json.loads(line)), ensure_ascii=False) + "\n"
    except json.JSONDecodeError:
        return ""


def _json(value: Any) -> str:
    return json.dumps(_cleaned(value), indent=1, ensure_ascii=False)


_KEPT = frozenset({"path", "request", "homepage", "image", "load_image", "packages", "version", "versions"})
"""Keys whose texts are the project's own, such as a workload's request path."""


_BY_REQUEST = frozenset({"names", "uncounted"})
"""Objects whose keys begin with a request, as do the texts in `examples` (`gatebench.results.details`)."""


def _cleaned(value: Any, key: str = "") -> Any:
    if key in _KEPT:
        return value
    if isinstance(value, str):
        return private_removed(value)
    if isinstance(value, list):
        return [_cleaned(each) for each in value]
    return _object_cleaned(value, key) if isinstance(value, dict) else value


def _object_cleaned(value: dict[str, Any], key: str) -> dict[str, Any]:
    if key in _BY_REQUEST:
        return _keyed_by_request(value)
    if key == "examples":
        return {kind: [_but_its_request(text) for text in texts] for kind, texts in value.items()}
    return {name: _cleaned(each, name) for name, each in value.items()}


def _keyed_by_request(counts: dict[str, Any]) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for name, count in counts.items():
        what = _but_its_request(name)
        # Two that differ in nothing but an address stay two.
        cleaned[f"{what} #{len(cleaned)}" if what in cleaned else what] = count
    return cleaned


def _but_its_request(text: str) -> str:
    """What is private removed from a text, but for the method and path with which it begins."""
    what, colon, rest = text.partition(": ")
    if re.match(r"[A-Z]+ /", what):
        return f"{_IP.sub('<address>', what)}{colon}{private_removed(rest)}"
    return private_removed(text)


FOLDER = "sources"
OWN_APPLICATIONS = "own-apps"
CLAIMS = "claims"
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def keep_sources(
    subjects: Sequence[Subject], workloads: Sequence[Workload], folder: Path, claims: Sequence[Path] = ()
) -> None:
    """Copies what a run is made from into `folder`, which is new.

    Raises:
        OSError: it could not be written, or a folder could not be read.
    """
    (folder / SERVERS).mkdir(parents=True)
    for server in {subject.server.name: subject.server for subject in subjects}.values():
        _copy(server.folder, folder / SERVERS / server.name)
    (folder / APPLICATIONS).mkdir()
    for name in ("__init__.py", "contract.toml"):
        shutil.copy(ROOT / APPLICATIONS / name, folder / APPLICATIONS / name)
    (folder / OWN_APPLICATIONS).mkdir()
    for application in {each.application.name: each.application for each in subjects}.values():
        for part in application.folders:
            packaged = application.packaged or part == application.plain
            _copy(part, folder / (APPLICATIONS if packaged else OWN_APPLICATIONS) / part.name)
    (folder / WORKLOADS).mkdir(parents=True)
    for workload in workloads:
        _copy(workload.folder, folder / WORKLOADS / workload.name)
    (folder / CLAIMS).mkdir()
    for number, file in enumerate(claims):
        shutil.copy(file, folder / CLAIMS / f"{number}-{file.name}")


def claims_of(folder: Path) -> tuple[Path, ...]:
    """The user's claims files that were kept in `folder`, in the order in which they were named."""
    return tuple(sorted((folder / CLAIMS).glob("*.toml")))


def kept_registry(folder: Path) -> Registry:
    """What was kept in `folder`, as a registry.

    Raises:
        ConfigurationError: nothing was kept, or this version does not understand it.
    """
    if not (folder / SERVERS).is_dir():
        raise ConfigurationError(
            f"{folder}: is not there, so the run's servers are not known exactly: an older run did not keep "
            "them, or they were left out on publishing; it can be compared with others, but not repeated"
        )
    own = folder / OWN_APPLICATIONS  # an archive holds no empty folder
    return load_registry(folder, apps_dirs=[own] if own.is_dir() else [], shipped=False)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=_LEFT_OUT, dirs_exist_ok=True)
