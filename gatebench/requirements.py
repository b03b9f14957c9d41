"""Checks a server's requirements.txt: pinned and hashed, one file, and no package index in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[^]]*\])?\s*==\s*[^\s;*]+(\s|;|$)")
_HASH = re.compile(r"\s--hash=[a-z0-9]+:[0-9a-f]+")
_INDEX_OPTION = re.compile(r"(-i|-f|--(extra-)?index-url|--find-links|--no-index|--trusted-host)\b")
_FILE_OPTION = re.compile(r"(-r|-c|--requirements?|--constraints?)\b")
_LOCAL_PATH = re.compile(r"(\.|/|file:)")


def check_requirements(path: Path, problems: list[str], *, must_be_pinned: bool) -> bool:
    """Whether every requirement of a file is pinned and hashed; what is wrong with it goes into `problems`.

    An environment is known by the content of this one file, so what lies outside it must not matter: other
    files and package folders that are copied are refused. (`-e FOLDER` is a link, which follows its folder.)

    Args:
        path: a server's `requirements.txt`.
        problems: gets one line for each problem.
        must_be_pinned: whether an unpinned or unhashed requirement is a problem.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        problems.append(f"{path}: is missing or is not text; it lists what the server's environment holds")
        return False
    requirements = list(_logical_lines(text))
    if not requirements and must_be_pinned:  # a user's own server may need nothing but Python
        problems.append(f"{path}: lists no requirement")
    pinned = True
    for line in requirements:
        shown = line.split(" --hash", maxsplit=1)[0]
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
        elif not _PINNED.match(line) or not _HASH.search(line):
            pinned = False
            if must_be_pinned:
                problems.append(
                    f"{path}: {shown}: must be pinned with == and hashed; "
                    "make the file with `uv pip compile --universal --generate-hashes`"
                )
    return pinned


def _logical_lines(text: str) -> Iterator[str]:
    """Requirements and options, continued lines joined, without comments."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        bare = re.sub(r"(^|\s)#.*", "", line).strip()
        if bare:
            yield bare
