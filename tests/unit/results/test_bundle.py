"""Packing a run into one file, and unpacking it."""

from __future__ import annotations

import errno
import io
import json
import socket
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from analysis.compare.show import compare_command
from analysis.figures.summary import summarize
from analysis.reading.run import load_run
from gatebench.results.bundle import bundle, private_removed, unpacked
from gatebench.words.errors import GatebenchError
from gatebench.words.paths import ROOT
from tests.support.summaries import BY_ID, QUIET
from tests.support.synthetic import STEADY, make_run
from tools.documents.guide import headline

HEADLINE = ROOT / "docs" / "headline"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("gatebench run --out /home/jane/results/x", "gatebench run --out <path>/x"),
        ("--servers-dir ~/mine/servers", "--servers-dir <path>/servers"),
        ("engine at ssh://jane@server.example", "engine at <address>"),
        ("bind 10.0.0.5 and 127.0.0.1", "bind <address> and 127.0.0.1"),
        ("404 for /nothing is right", "404 for /nothing is right"),
        (f"on {socket.gethostname()}-x", f"on {socket.gethostname()}-x"),
    ],
)
def test_what_tells_of_a_machine_is_left_out(text: str, left: str) -> None:
    expected = left if len(socket.gethostname()) <= 3 else left.replace(socket.gethostname(), "<host>")
    assert private_removed(text) == expected


def test_a_bundle_gives_the_same_result_as_its_run(tmp_path: Path) -> None:
    file = bundle(HEADLINE, tmp_path / "headline.gatebench.zip")
    with unpacked(file) as folder:
        assert folder.name == "headline"
        _, summary = headline()
        assert summarize(load_run(folder)).levels == summary.levels
    assert not folder.exists()


def test_bundles_are_compared_as_their_folders_are(tmp_path: Path) -> None:
    # The p99 of an open loop is read from the latencies, which are read when they are asked for.
    truth = replace(BY_ID["uvicorn"], rates={"steady": 9_000.0}, p99_us={"steady": 4_000.0})
    said = []
    folders = [make_run(tmp_path / name, QUIET, [truth], [STEADY]) for name in ("one", "two")]
    for number, folder in enumerate(list(folders)):
        content = json.loads((folder / "run.json").read_text())
        content["run"] = folder.name
        content["hashes"]["workloads/steady"] = "5a" * 32
        (folder / "run.json").write_text(json.dumps(content))
        folders.append(bundle(folder, tmp_path / f"{number}.gatebench.zip"))
    for a, b in (folders[:2], folders[2:]):
        output = io.StringIO()
        assert compare_command(a, b, Console(file=output)) == 0
        said.append(output.getvalue())
    assert "no difference shown" in said[0]
    assert said[0] == said[1]


def test_a_bundle_holds_no_logs_and_no_page(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "logs").mkdir(parents=True)
    (run / "logs" / "uvicorn-b0.log").write_text("secret")
    (run / "report.html").write_text("page")
    (run / "run.json").write_text('{"machine": {"cpu": "X"}, "command": "gatebench run --out /a/b"}')
    (run / "events.jsonl").write_text('{"kind": "argv", "argv": ["/opt/x/bin/uvicorn"]}\n{"kind": "cut o')
    with zipfile.ZipFile(bundle(run, tmp_path / "x.zip")) as archive:
        assert archive.namelist() == ["run.json", "events.jsonl"]
        assert json.loads(archive.read("run.json"))["machine"] == {"cpu": "X"}
        assert json.loads(archive.read("events.jsonl"))["argv"] == ["<path>/uvicorn"]


def test_a_bundle_names_the_requests_that_failed_and_nothing_private_beside_them(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    event = {
        "kind": "details",
        "examples": {"status": ["POST /auth/login: 404 at http://10.1.2.3/auth/login", "in /home/me/x.py"]},
        "names": {"GET /v1/json": [1, 0], "GET http://a.example/": [2, 0], "GET http://b.example/": [3, 0]},
        "uncounted": {"WS /ws/echo: sent to 10.1.2.3": 4},
    }
    (run / "events.jsonl").write_text(json.dumps(event) + "\n")
    with zipfile.ZipFile(bundle(run, tmp_path / "x.zip")) as archive:
        found = json.loads(archive.read("events.jsonl"))
    assert found["examples"] == {"status": ["POST /auth/login: 404 at <address>", "in <path>/x.py"]}
    assert found["names"] == {"GET /v1/json": [1, 0], "GET <address>": [2, 0], "GET <address> #2": [3, 0]}
    assert found["uncounted"] == {"WS /ws/echo: sent to <address>": 4}


def test_a_file_is_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    file.write_text("precious")
    with pytest.raises(GatebenchError, match="exists; name another file"):
        bundle(HEADLINE, file)
    assert file.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_nobody_may_write_to_is_named_as_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a file system that is mounted read-only: even removing what is not there fails.
    run = make_run(tmp_path / "run")

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    with pytest.raises(GatebenchError, match=r"could not be written: .*Read-only file system"):
        bundle(run, tmp_path / "given.zip")


def test_what_is_no_run_cannot_be_packed(tmp_path: Path) -> None:
    with pytest.raises(GatebenchError, match=r"no run\.json; name a results folder"):
        bundle(tmp_path, tmp_path / "x.zip")


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("hello")
    with pytest.raises(GatebenchError, match="neither a results folder nor a bundle"), unpacked(file):
        pass
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("other", "x")
    with pytest.raises(GatebenchError, match="no bundle of a run"), unpacked(file):
        pass


def test_a_bundle_cannot_write_outside_of_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../evil", "x")
    with pytest.raises(GatebenchError, match="would lie outside"), unpacked(file):
        pass
