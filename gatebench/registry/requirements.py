"""Requirements files: what must be in one, and how a server's and an application's are installed together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gatebench.words.model import Application, Server

_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?P<extras>\[[^]]*\])?\s*==\s*(?P<version>[^\s;*]+)"
    r"(?:\s*;\s*(?P<marker>.*?))?(?P<hashes>(?:\s+--hash=[a-z0-9]+:[0-9a-f]+)*)\s*"
)
_INDEX_OPTION = re.compile(r"(-i|-f|--(extra-)?index-url|--find-links|--no-index|--trusted-host)\b")
_FILE_OPTION = re.compile(r"(-r|-c|--requirements?|--constraints?)\b")
_LOCAL_PATH = re.compile(r"(\.|/|file:)")
_EDITABLE = re.compile(r"(?:-e|--editable)[\s=]+(?P<path>[^\s\[#]+)(?P<extras>\[[^]]*\])?")


def check_requirements(path: Path, problems: list[str], *, must_be_pinned: bool) -> bool:
    """Whether every requirement of a file is pinned and hashed; what is wrong with it goes into `problems`.

    An environment is known by the content of this one file, so what lies outside it must not matter: other
    files and package folders that are copied are refused. (`-e FOLDER` is a link, which follows its folder.)

    Args:
        path: the `requirements.txt` of a server or an application.
        problems: gets one line for each problem.
        must_be_pinned: whether an unpinned or unhashed requirement is a problem.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        problems.append(f"{path}: is missing or is not text; it lists what its environment holds")
        return False
    requirements = list(_logical_lines(text))
    if not requirements and must_be_pinned:  # a user's own server may need nothing but Python
        problems.append(f"{path}: lists no requirement")
    pinned = True
    for line in requirements:
        shown = line.split(" --hash", maxsplit=1)[0]
        pin = _PIN.fullmatch(line)
        if _FILE_OPTION.match(line):
            problems.append(f"{path}: {shown}: other files are not followed; list the requirements here")
        elif _LOCAL_PATH.match(line):
            problems.append(f"{path}: {shown}: a copied folder would grow stale; write -e {shown}")
        elif _INDEX_OPTION.match(line):
            pinned = False
            if must_be_pinned:
                problems.append(
                    f"{path}: {shown}: names a package index; leave that to the environment variables"
                )
        elif pin is None or not pin["hashes"]:
            pinned = False
            if must_be_pinned:
                problems.append(
                    f"{path}: {shown}: must be pinned with == and hashed; "
                    "make the file with `uv pip compile --universal --generate-hashes`"
                )
    return pinned


def joined(server: Server, application: Application, folder: str) -> str:
    """What the environment of a pair holds, as one requirements file.

    Where both pin a package, the server's version rules: it is the server that is compared, and with every
    application it has to be the same. Whether the application's other packages can do with that version is
    for the installer to find out, from what they themselves declare.

    Args:
        server: its file comes first, as it stands.
        application: has requirements.
        folder: the application's folder where they are installed, for what is linked there (`-e .`).

    Raises:
        OSError: a file cannot be read.
    """
    text = server.requirements.read_text(encoding="utf-8")
    pins: dict[str, list[re.Match[str]]] = {}
    for line in _logical_lines(text):
        if pin := _PIN.fullmatch(line):
            pins.setdefault(_canonical(pin["name"]), []).append(pin)
    lines = [text.rstrip("\n"), f"# of the application {application.name}"]
    if application.requirements is not None:
        for line in _logical_lines(application.requirements.read_text(encoding="utf-8")):
            lines += _beside(line, pins, folder)
    return "\n".join(lines) + "\n"


def without_hashes(text: str) -> str:
    """A requirements file for pip, which takes one hash as the wish that everything has one."""
    return re.sub(r"(?:[ \t]*\\\n)?[ \t]+--hash=\S+", "", text)


def _beside(line: str, pins: dict[str, list[re.Match[str]]], folder: str) -> Iterator[str]:
    """A line of an application's file as it goes with the server's pins."""
    if editable := _EDITABLE.fullmatch(line):
        path = editable["path"]
        where = path if "://" in path else str(Path(folder) / path)
        yield f"-e {where}{editable['extras'] or ''}"
        return
    own = _PIN.fullmatch(line)
    ruling = pins.get(_canonical(own["name"]), []) if own else []
    if own is None or not ruling:
        yield line
        return
    for pin in ruling:
        same_extras = not own["extras"] or own["extras"] == pin["extras"]
        if same_extras and pin["marker"] in {None, own["marker"]}:
            continue  # the server's line says all of it
        # A server that pins several versions says by markers where each is for. One that pins a single
        # version may want it in fewer places than the application does.
        conditions = (pin["marker"] if len(ruling) > 1 else None, own["marker"])
        markers = " and ".join(f"({each})" for each in conditions if each)
        marker = f" ; {markers}" if markers else ""
        yield f"{own['name']}{own['extras'] or ''}=={pin['version']}{marker}{pin['hashes']}"


def _canonical(name: str) -> str:
    """A package's name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _logical_lines(text: str) -> Iterator[str]:
    """Requirements and options, continued lines joined, without comments."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        bare = re.sub(r"(^|\s)#.*", "", line).strip()
        if bare:
            yield bare
