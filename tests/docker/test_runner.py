"""The docker runner's images, made by a real engine from folders that are good, bad, or gone meanwhile."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebench.machine.processes import Owner
from gatebench.registry.servers import parse_server
from gatebench.runners.docker.engine import Engine
from gatebench.runners.docker.images import BuildError, Image, Images
from tests.support.witness import remove_images

SERVER = """
homepage = "https://example.org/"
[variants.default]
interface = "wsgi"
command = ["python", "-m", "http.server", "{port}"]
supports = ["close"]
"""
NO_PYTHON = "FROM debian:trixie-slim\nENTRYPOINT []\n"


class Shop:
    """Builds small images and knows what was said meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        self.said: list[str] = []
        self.mark = f"dktest{uuid.uuid4().hex[:8]}"
        self._folder = folder
        self._number = 0

    def make(self, **dockerfiles: str) -> dict[str, Image | BuildError]:
        """A server for each name, with its Dockerfile unless that is empty; what came of each."""
        self._number += 1
        scratch = self._folder / f"scratch-{self._number}"
        scratch.mkdir()
        servers = []
        for name, text in dockerfiles.items():
            folder = self._folder / f"{self.mark}_{name}"
            folder.mkdir(exist_ok=True)
            (folder / "server.toml").write_text(SERVER)
            (folder / "requirements.txt").write_text("# Nothing but Python.\n")
            if text:
                (folder / "Dockerfile").write_text(text)
            servers.append((parse_server(folder), ()))
        images = Images(
            Engine.connect(), owner=Owner.this(), scratch=scratch, cache=self.cache, report=self.said.append
        )
        made = images.of_servers(servers)
        return {name.removeprefix(f"{self.mark}_"): image for name, image in made.items()}

    def image(self) -> Image:
        """An image with Python."""
        found = self.make(good="")["good"]
        assert isinstance(found, Image)
        return found

    @property
    def note(self) -> Path:
        """What the cache knows of the only image."""
        (found,) = self.cache.iterdir()
        return found


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    remove_images(*(f"{made.mark}_{name}" for name in ("good", "bare", "broken")))


class TestImages:
    """One image with Python, and what is known of it."""

    def test_what_is_in_an_image_is_asked_of_it_once(self, shop: Shop) -> None:
        first = shop.image()
        assert first.facts.python
        assert first.id.startswith("sha256:")
        known = json.loads(shop.note.read_text())
        shop.note.write_text(json.dumps(known | {"libc": "from the cache"}))
        assert shop.image().facts.libc == "from the cache"
        assert shop.said == [f"{shop.mark}_good: building its image", f"{shop.mark}_good: built"]

    @pytest.mark.parametrize("damage", ["", "null", '{"python": "3", "libc": "", "packages": []}', "\udcff"])
    def test_a_damaged_note_of_it_is_mended(self, shop: Shop, damage: str) -> None:
        first = shop.image()
        whole = shop.note.read_bytes()
        shop.note.write_bytes(damage.encode(errors="surrogateescape"))
        assert shop.image() == first
        assert shop.note.read_bytes() == whole

    def test_a_cache_that_cannot_be_written_is_done_without(self, shop: Shop) -> None:
        shop.cache.write_text("a file where a folder should be")
        assert shop.image().facts.python
        assert shop.cache.read_text() == "a file where a folder should be"

    def test_an_image_that_was_removed_is_built_again(self, shop: Shop) -> None:
        first = shop.image()
        remove_images(f"{shop.mark}_good")
        assert shop.image().name == first.name
        assert shop.said.count(f"{shop.mark}_good: built") == 2

    def test_images_that_cannot_be_used_stop_no_other(self, shop: Shop) -> None:
        broken = "FROM python:3.13-slim\nRUN echo this goes wrong && exit 3\n"
        made = shop.make(bare=NO_PYTHON, broken=broken, good="")
        assert isinstance(made["good"], Image)
        assert isinstance(made["bare"], BuildError)
        assert "`python` does not run in it" in str(made["bare"])
        assert isinstance(made["broken"], BuildError)
        assert "this goes wrong" in str(made["broken"])
        assert f"servers/{shop.mark}_broken/Dockerfile" in str(made["broken"])
