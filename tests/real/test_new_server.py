"""`gatebench new-server` as a person meets it: a server that keeps the contract, refusals, interruptions."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from gatebench.words.paths import HOST
from tests.support.lab import Command, gatebench

HOMEPAGE = "https://example.org/"
SERVE = ("demo", "--host={host}", "--port={port}", "{app}")


def test_a_new_server_is_listed_and_keeps_the_contract(tmp_path: Path) -> None:
    own = tmp_path / "servers"
    made = gatebench(
        tmp_path,
        *("new-server", "waitress_copy", "--interface", "wsgi", "--package", "waitress==3.0.2"),
        *("--supports", "close keep-alive", "--supports", "chunked-request", "--homepage", HOMEPAGE),
        *("--dir", str(own), "--", "waitress-serve", "--host={host}", "--port={port}", "{app}"),
    )
    assert made.status == 0, made.said
    assert f"make verify SERVERS_DIR={own} SERVERS=waitress_copy" in made.said
    # The package is the same, and so is what pins it.
    pinned = (own / "waitress_copy" / "requirements.txt").read_text()
    assert pinned.startswith("waitress==3.0.2 \\\n    --hash=sha256:")
    assert "://" not in pinned

    listed = gatebench(tmp_path, "list", "--servers-dir", str(own))
    assert "waitress_copy" in listed.said
    verified = gatebench(
        tmp_path, "verify", "--runner", "process", "--servers", "waitress_copy", "--servers-dir", str(own)
    )
    assert verified.status == 0, verified.said
    assert "holds" in verified.said


def test_wrong_input_is_told_at_once_without_a_traceback(tmp_path: Path) -> None:
    own = tmp_path / "servers"
    ended = gatebench(tmp_path, "new-server", "waitress", "--interface", "wsgj", "--dir", str(own))
    assert ended.status == 2
    assert "4 problems found; nothing was done:" in ended.said
    assert "Traceback" not in ended.said
    assert not own.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    own = tmp_path / "my" / "servers"
    with socket.create_server((HOST, 0)) as silent:
        address = f"http://{HOST}:{silent.getsockname()[1]}/simple"
        where = {"UV_DEFAULT_INDEX": address, "UV_CACHE_DIR": str(tmp_path / "uv"), "NO_PROXY": HOST}
        command = Command(
            tmp_path,
            *("new-server", "demo", "--interface", "wsgi", "--homepage", HOMEPAGE, "--dir", str(own)),
            *("--", *SERVE),
            environment=where,
        )
        silent.settimeout(60)
        with silent.accept()[0]:
            assert [path.name for path in own.glob(".*/*")] == ["demo"]
            command.send(number)
            ended = command.end()
    assert ended.status == 130, ended.said
    assert "Traceback" not in ended.said
    assert not own.parent.exists()
