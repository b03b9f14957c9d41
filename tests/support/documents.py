"""The documents that are held to the code: their texts, and the commands in them."""

from __future__ import annotations

import re
import shlex

from gatebench.words.paths import ROOT

DOCUMENTS = (
    *("README.md", "METHOD.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *(
        "docs/containers.md",
        "docs/workloads.md",
        "docs/wsgi-and-asgi.md",
        "docs/claims.md",
        "docs/compare.md",
        "docs/reference.md",
        "docs/extending.md",
        "docs/locust.md",
    ),
    *(f"docs/method/{name}.md" for name in ("plan", "engine", "statistics", "gates", "validation")),
)
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS}


def commands(program: str) -> list[list[str]]:
    """Every command of a program in the documents' code, split into its words after the program's name."""
    lines = [
        line
        for text in TEXTS.values()
        for line in (
            *"".join(re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)).splitlines(),
            *re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)),
        )
    ]
    wanted = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?{program} (?=\S)")
    matches = [(line, wanted.match(line)) for line in lines]
    found = [shlex.split(line[match.end() :], comments=True) for line, match in matches if match]
    assert found
    return found
