"""What real servers run on is what their variants say; one that runs on something else is failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatebench.contract.file import load_contract
from gatebench.contract.site import LocalSite
from gatebench.machine.cores import available_cores, divide
from gatebench.machine.processes import Owner
from gatebench.registry.registry import open_registry
from gatebench.results.observed import ObservedMeta
from gatebench.runners.process.runner import ProcessRunner
from gatebench.runners.readiness import hold_all_to_contract, look
from gatebench.words.options import Budget
from gatebench.words.paths import CACHE
from tests.support.lab import Results, assert_done, blamed, gatebench, run_arguments

SUBJECTS = {
    subject.id: subject
    for subject in open_registry().subjects()
    if subject.server.name in {"daphne", "granian", "gunicorn", "hypercorn", "uvicorn"}
    and subject.variant.interface == "asgi"
}
ON = {
    "daphne": ("asyncio", "twisted", "autobahn"),
    "granian-asgi": ("asyncio", "own", "own"),
    "granian-asgi-rloop": ("rloop", "own", "own"),
    "granian-asgi-uvloop": ("uvloop", "own", "own"),
    "gunicorn-asgi": ("asyncio", "own", "own"),
    "gunicorn-asgi-uvloop": ("uvloop", "own", "own"),
    "gunicorn-uvicorn": ("uvloop", "httptools", "websockets"),
    "hypercorn": ("asyncio", "h11", "wsproto"),
    "hypercorn-uvloop": ("uvloop", "h11", "wsproto"),
    "uvicorn": ("uvloop", "httptools", "websockets"),
    "uvicorn-asyncio": ("asyncio", "httptools", "websockets"),
    "uvicorn-h11": ("asyncio", "h11", "websockets"),
    "uvicorn-uvloop-h11": ("uvloop", "h11", "websockets"),
    "uvicorn-zttp": ("uvloop", "zttp", "websockets"),
}


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ObservedMeta | str]:
    """Subject → what its running processes were seen to run on, or why it could not be started."""
    folder = tmp_path_factory.mktemp("observed")
    runner = ProcessRunner(
        budget=Budget(divide(available_cores()).server),
        owner=Owner.this(),
        scratch=folder,
        cache=CACHE,
        report=print,
    )
    readiness = runner.prepare([SUBJECTS[name] for name in ON])
    found: dict[str, ObservedMeta | str] = {name: readiness[name].reason for name in ON}
    ready = [SUBJECTS[name] for name in ON if not found[name]]
    instances = [runner.launch(each, log=folder / f"{each.id}.log", hash_seed=1) for each in ready]
    try:
        site = LocalSite(load_contract())
        for instance, failure in hold_all_to_contract(instances, site, thorough=False):
            found[instance.subject.id] = str(failure)
        kept = [each for each in instances if not found[each.subject.id]]
        for seen in look(kept, site):
            found[seen.instance.subject.id] = seen.wrong or seen.observed
    finally:
        runner.stop(instances)
    return found


@pytest.mark.parametrize("subject", ON)
def test_a_shipped_server_runs_on_the_loop_and_the_libraries_of_its_variant(
    observed: dict[str, ObservedMeta | str], subject: str
) -> None:
    found = observed[subject]
    if isinstance(found, str) and "not found in the cache" in found:
        pytest.skip(found)
    assert isinstance(found, ObservedMeta), found
    assert (found.loop, found.http, found.websocket) == ON[subject]
    assert found.tls is False
    assert found.processes is not None
    assert found.threads is not None
    assert found.threads >= found.processes >= 1


def test_what_the_kernel_shows_agrees_with_what_the_application_sees(
    observed: dict[str, ObservedMeta | str],
) -> None:
    for subject, found in observed.items():
        assert isinstance(found, ObservedMeta), (subject, found)
        assert found.mapped is not None
        # A loop in use is loaded; what is loaded need not be in use.
        assert {found.loop} - {"asyncio"} <= {*found.mapped}, subject


def own_server(folder: Path, name: str, loop: str, more: str = "") -> None:
    """A folder of the tests' own ASGI server, which asks for a loop that it does not choose."""
    own = folder / name
    own.mkdir(parents=True)
    (own / "requirements.txt").write_text("# the standard library alone\n")
    (own / "server.toml").write_text(
        'homepage = "https://docs.python.org/3/library/asyncio.html"\n'
        "[variants.default]\n"
        'interface = "asgi"\n'
        'command = ["python", "-m", "tests.support.small_server", "--port", "{port}", "--app", "{app}"]\n'
        'supports = ["close", "keep-alive", "websocket", "chunked-request"]\n'
        f"{more}"
        f'expects = {{ loop = "{loop}" }}\n'
    )


def test_a_server_on_another_loop_than_asked_is_failed_and_the_others_are_measured(tmp_path: Path) -> None:
    own_server(tmp_path / "servers", "claims_uvloop", "uvloop")
    own_server(tmp_path / "servers", "keeps_to_asyncio", "asyncio")
    results = Results(tmp_path / "run")
    arguments = run_arguments(results.folder, "claims_uvloop keeps_to_asyncio", "steady-close")
    ended = gatebench(tmp_path, *arguments, "--servers-dir", str(tmp_path / "servers"))

    (failed,) = results.cells("claims_uvloop")
    assert failed["status"] == "failed"
    assert failed["reasons"][0].startswith("not-as-asked: block 1: ")
    place = tmp_path / "servers" / "claims_uvloop" / "server.toml"
    assert (
        f'{place}: variants.default.expects: loop = "uvloop", and it runs on asyncio' in failed["reasons"][0]
    )
    (kept,) = results.cells("keeps_to_asyncio")
    assert blamed(kept) == set(), kept["reasons"]
    assert kept["loop"] == "asyncio"
    assert ended.status == 1
    seen = [event for event in results.events if event["kind"] == "observed"]
    assert {event["subject"] for event in seen} >= {"claims_uvloop", "keeps_to_asyncio"}
    # Before its load, and after it.
    assert [event["subject"] for event in seen].count("keeps_to_asyncio") == 2
    assert "asyncio, own parser; 1 process" in (results.folder / "report.html").read_text()


def test_a_variant_whose_loop_has_no_wheel_is_unavailable_and_the_servers_other_ones_are_measured(
    tmp_path: Path,
) -> None:
    more = 'requirements = "requirements-rloop.txt"\n'
    own_server(tmp_path / "servers", "without_wheel", "rloop", more)
    own = tmp_path / "servers" / "without_wheel"
    (own / "requirements-rloop.txt").write_text("gatebench-is-no-package==1.0\n")
    toml = own / "server.toml"
    usual = toml.read_text().partition("[variants.default]")[2].replace(more, "").replace("rloop", "asyncio")
    toml.write_text(f"{toml.read_text()}\n[variants.usual]{usual}")
    results = Results(tmp_path / "run")
    arguments = run_arguments(results.folder, "without_wheel*", "steady-close")
    no_index = {
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "UV_HTTP_RETRIES": "0",
    }
    ended = gatebench(tmp_path, *arguments, "--servers-dir", str(tmp_path / "servers"), environment=no_index)

    (unavailable,) = results.cells("without_wheel")
    assert unavailable["status"] == "unavailable"
    assert "gatebench-is-no-package" in unavailable["reasons"][0]
    assert blamed(results.cell("without_wheel-usual", "steady-close")) == set()
    assert_done(ended, results)
    described = json.loads((results.folder / "run.json").read_text())
    assert {
        each["id"]: each["expects"]["loop"] for each in described["subjects"] if "~" not in each["id"]
    } == {
        "without_wheel": "rloop",
        "without_wheel-usual": "asyncio",
    }
