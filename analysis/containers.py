"""The typed view of what `run.json` says of containers; every part of it may be absent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.fields import Fields

_SHORT_ID = 12
"""Letters of an image's ID that Docker shows."""


@dataclass(frozen=True, slots=True)
class ImageMeta:
    """A container image. A text is empty, and a size None, where it was not told.

    Attributes:
        id: `sha256:` and the digest of its configuration.
        base, base_id: the image that it is built on.
        size_mib: what it adds to its base.
        libc: such as `glibc 2.41`.
    """

    id: str = ""
    name: str = ""
    base: str = ""
    base_id: str = ""
    size_mib: float | None = None
    python: str = ""
    libc: str = ""

    @property
    def short_id(self) -> str:
        """The beginning of the ID, as Docker's own tables show it."""
        return self.id.removeprefix("sha256:")[:_SHORT_ID]


@dataclass(frozen=True, slots=True)
class EngineMeta:
    """The container engine; a text is empty where it was not told.

    Attributes:
        cgroup: version of control groups, 1 or 2.
        remote: whether it runs on another machine than the lab.
    """

    name: str = ""
    version: str = ""
    api: str = ""
    system: str = ""
    cgroup: str = ""
    storage: str = ""
    compose: str = ""
    remote: bool = False

    @property
    def short(self) -> str:
        """`Docker 20.10`."""
        return " ".join(filter(None, (self.name, ".".join(self.version.split(".")[:2]))))


@dataclass(frozen=True, slots=True)
class LimitsMeta:
    """What each server's container may use; None where it is not limited.

    Attributes:
        pids: processes and threads.
    """

    memory_mib: float | None = None
    pids: int | None = None


def image(fields: Fields, key: str) -> ImageMeta | None:
    """The image under a key; None where there is none."""
    if not fields.has(key):
        return None
    inner = fields.inner(key)
    return ImageMeta(
        id=_text(inner, "id"),
        name=_text(inner, "name"),
        base=_text(inner, "base"),
        base_id=_text(inner, "base_id"),
        size_mib=inner.number("size_mib") if inner.has("size_mib") else None,
        python=_text(inner, "python"),
        libc=_text(inner, "libc"),
    )


def engine(fields: Fields) -> EngineMeta | None:
    """The container engine of a run; None where its servers were processes."""
    if not fields.has("engine"):
        return None
    inner = fields.inner("engine")
    return EngineMeta(
        name=_text(inner, "name"),
        version=_text(inner, "version"),
        api=_text(inner, "api"),
        system=_text(inner, "system"),
        cgroup=_text(inner, "cgroup"),
        storage=_text(inner, "storage"),
        compose=_text(inner, "compose"),
        remote=inner.get("remote", bool) if inner.has("remote") else False,
    )


def limits(fields: Fields) -> LimitsMeta | None:
    """The limits of each server's container; None where its servers were processes."""
    if not fields.has("limits"):
        return None
    inner = fields.inner("limits")
    return LimitsMeta(
        memory_mib=inner.number("memory_mib") if inner.has("memory_mib") else None,
        pids=inner.get("pids", int) if inner.has("pids") else None,
    )


def _text(fields: Fields, key: str) -> str:
    return fields.get(key, str) if fields.has(key) else ""
