"""A folder of wheels in place of a package index, and servers that are installed from it."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from gatebench.runners.process.environments import Environment, Unavailable, prepare
from gatebench.words.model import Server, Variant

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

    def add_wheel(self, version: str = "1.0") -> str:
        """A package with one command, `demo`; gives back the line that pins it."""
        wheel = self.wheels / f"demo-{version}-py3-none-any.whl"
        info = f"demo-{version}.dist-info"
        files = {
            "demo.py": "def main() -> None:\n    print('served')\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: demo\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": "[console_scripts]\ndemo = demo:main\n",
        }
        record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, content in {**files, f"{info}/RECORD": record}.items():
                archive.writestr(name, content)
        return f"demo=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"

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

    def prepare(self, *servers: Server) -> tuple[dict[str, Environment | Unavailable], list[str]]:
        """What `prepare` gives and what it reports."""
        lines: list[str] = []
        return prepare(servers, self.cache, report=lines.append), lines
