"""Fills the placeholders of a variant's command and files with a server's values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def fill(command: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Replaces `{placeholder}`s in an argument vector; other braces stay as they are."""
    return tuple(fill_text(argument, values) for argument in command)


def fill_files(files: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Replaces `{placeholder}`s in the texts of files, by name; other braces stay as they are."""
    return {name: fill_text(text, values) for name, text in files.items()}


def fill_text(text: str, values: Mapping[str, str]) -> str:
    """Replaces `{placeholder}`s in a text; other braces stay as they are."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text
