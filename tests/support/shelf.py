"""A folder of wheels in place of a package index, and servers that are installed from it."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from gatebench.runners.process.environments import Environment, Unavailable, Wanted, prepare
from gatebench.words.model import Application, Server, Variant

VARIANT = Variant(
    name="default",
    interface="wsgi",
    command=("demo", "{port}"),
    tuned=False,
    why="",
    supports=frozenset({"close"}),
    stop="TERM",
    needs=(),
)


class Shelf:
    """A folder of wheels in place of a package index, with servers that are installed from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "environments"
        self.wheels = folder / "wheels"
        self.wheels.mkdir()

    def add_wheel(self, version: str = "1.0", name: str = "demo", needs: str = "") -> str:
        """A package with one command, `demo`; gives back the line that pins it.

        Args:
            version: of the package.
            name: of the package.
            needs: a package that it requires.
        """
        wheel = self.wheels / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        more = f"Requires-Dist: {needs}\n" if needs else ""
        files = {
            "demo.py": "def main() -> None:\n    print('served')\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": "[console_scripts]\ndemo = demo:main\n",
        }
        record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, content in {**files, f"{info}/RECORD": record}.items():
                archive.writestr(path, content)
        return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"

    def server(self, requirements: str, name: str = "demo", variant: Variant = VARIANT) -> Server:
        folder = self.folder / "servers" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "requirements.txt").write_text(requirements)
        return Server(
            name=name,
            folder=folder,
            homepage="https://example.org/",
            variants=(variant,),
            requirements=folder / "requirements.txt",
            pinned="--hash" in requirements,
            remedies={"no-such-command": "apt-get install such"},
        )

    def application(self, requirements: str, name: str = "mine") -> Application:
        """An application that brings requirements."""
        folder = self.folder / "apps" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "requirements.txt").write_text(requirements)
        return Application(
            name=name,
            folder=folder,
            search_path=folder.parent,
            wsgi=f"{name}.wsgi:app",
            asgi=None,
            requirements=folder / "requirements.txt",
            pinned="--hash" in requirements,
        )

    def prepare_pair(
        self, server: Server, application: Application
    ) -> tuple[Environment | Unavailable, list[str]]:
        """What `prepare` gives for both together, and what it reports."""
        lines: list[str] = []
        wanted = Wanted(server, application)
        return prepare([wanted], self.cache, report=lines.append)[wanted.name], lines

    def prepare(self, *servers: Server) -> tuple[dict[str, Environment | Unavailable], list[str]]:
        """What `prepare` gives and what it reports."""
        lines: list[str] = []
        return prepare([Wanted(server) for server in servers], self.cache, report=lines.append), lines
