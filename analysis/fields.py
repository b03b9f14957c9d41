"""Reads JSON objects strictly: a missing key or a wrong type becomes an error that names file and key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from gatebench.words.errors import GatebenchError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import UnionType

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object of a file.

    Attributes:
        file: only named in errors.
        where: path of the object in the file, such as `plan.levels[0].`; empty for the whole.
    """

    file: Path
    where: str
    data: Mapping[str, Any]

    def get(self, key: str, kind: type[T] | UnionType) -> T:
        """The value of a key.

        Raises:
            GatebenchError: it is missing or of another type; as does every other method.
        """
        name = f"{self.where}{key}"
        if key not in self.data:
            raise GatebenchError(f"{self.file}: `{name}` is missing; the file is not what a run writes")
        value = self.data[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind in {int, int | float}):
            raise GatebenchError(f"{self.file}: `{name}` has the wrong type {type(value).__name__}")
        return value

    def number(self, key: str) -> float:
        """An integer or a real number."""
        value: float = self.get(key, int | float)
        return float(value)

    def optional_text(self, key: str) -> str | None:
        """A text or null."""
        value: str | None = self.get(key, str | None)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list, its items as texts."""
        return tuple(str(item) for item in self.get(key, list))

    def text_map(self, key: str) -> dict[str, str]:
        """An object, its values as texts."""
        return {str(name): str(value) for name, value in self.get(key, dict).items()}

    def inner(self, key: str) -> Fields:
        """An object within this one."""
        return Fields(self.file, f"{self.where}{key}.", self.get(key, dict))

    def items(self, key: str) -> list[Fields]:
        """A list of objects."""
        entries: list[Any] = self.get(key, list)
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise GatebenchError(f"{self.file}: `{self.where}{key}[{index}]` is not an object")
        return [
            Fields(self.file, f"{self.where}{key}[{index}].", entry) for index, entry in enumerate(entries)
        ]

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self.data.get(key) is not None
