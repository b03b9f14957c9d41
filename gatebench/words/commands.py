"""Finds and fills the placeholders of a variant's command, environment and files. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_WORD = "[A-Za-z_][A-Za-z0-9_]*"
# A word after `$`, `%` or `%(` is a variable of a shell, of nginx, of Apache's or Gunicorn's log format.
_TOKEN = re.compile(rf"\{{(?P<literal>\{{{_WORD}\}})\}}|(?<![$%])(?<!%\()\{{(?P<name>{_WORD})\}}")


def fill(command: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Replaces `{placeholder}`s in an argument vector."""
    return tuple(fill_text(argument, values) for argument in command)


def fill_table(texts: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Replaces `{placeholder}`s in texts by name: files, or variables of the environment."""
    return {name: fill_text(text, values) for name, text in texts.items()}


def fill_text(text: str, values: Mapping[str, str]) -> str:
    """Replaces `{placeholder}`s in a text; `{{word}}` becomes `{word}`, and other braces stay as they are."""
    return _TOKEN.sub(lambda found: found["literal"] or values.get(found["name"], found[0]), text)


def placeholders(text: str) -> tuple[str, ...]:
    """The different words in braces that are read as placeholders, without their braces, known or not."""
    return tuple(dict.fromkeys(found["name"] for found in _TOKEN.finditer(text) if found["name"]))


def other_braces(text: str) -> str:
    """The braces of a text that belong to no placeholder and to no `{{word}}`, in their order."""
    return re.sub("[^{}]", "", _TOKEN.sub("", text))
