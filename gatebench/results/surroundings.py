"""Parts of `run.json` that say what a run stood on, containers and a database, and what any part is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict

_SHORT_ID = 12
"""Letters of an image's ID that Docker shows."""

Text: TypeAlias = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
"""Empty where it was not told."""


class Part(BaseModel):
    """An object of the file: its keys are the fields, `class_` for `class`."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        alias_generator=lambda name: name.removesuffix("_"),
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )

    def replaced(self, **values: Any) -> Self:
        """A copy with other values of these fields."""
        return self.model_copy(update=values)

    def to_json(self) -> dict[str, Any]:
        """What `json` writes: of a run that was read, with the keys that it had."""
        return self.model_dump(mode="json", exclude_unset=True)


class ImageMeta(Part):
    """A container image.

    Attributes:
        id: `sha256:` and the digest of its configuration.
        base, base_id: the image that it is built on.
        size_mib: what it adds to its base; None where that was not told.
        libc: such as `glibc 2.41`.
    """

    name: Text = ""
    id: Text = ""
    base: Text = ""
    base_id: Text = ""
    size_mib: float | None = None
    python: Text = ""
    libc: Text = ""

    @property
    def short_id(self) -> str:
        """The beginning of the ID, as Docker's own tables show it."""
        return self.id.removeprefix("sha256:")[:_SHORT_ID]


class EngineMeta(Part):
    """The container engine.

    Attributes:
        cgroup: version of control groups, 1 or 2.
        remote: whether it runs on another machine than the lab.
    """

    name: Text = ""
    version: Text = ""
    api: Text = ""
    system: Text = ""
    cgroup: Text = ""
    storage: Text = ""
    remote: bool = False
    compose: Text = ""

    @property
    def short(self) -> str:
        """`Docker 20.10`."""
        return " ".join(filter(None, (self.name, ".".join(self.version.split(".")[:2]))))


class LimitsMeta(Part):
    """What each server's container may use; None where it is not limited.

    Attributes:
        pids: processes and threads.
    """

    memory_mib: int | None = None
    pids: int | None = None


class DatabaseMeta(Part):
    """The database that the lab set up for the applications that require one.

    Attributes:
        version: of PostgreSQL.
        max_connections: how many it accepts.
        cores: those that it ran on.
        pool: connections of a shipped application's pool, in each worker process.
        settings: those that differ from PostgreSQL's own, or matter to a figure.
    """

    version: str
    max_connections: int
    cores: tuple[int, ...]
    pool: int
    settings: Mapping[str, str]
