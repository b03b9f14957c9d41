"""The documents say what the code does: tables, commands, examples, numbers and links are held to it."""

from __future__ import annotations

import ast
import re
import runpy
import tomllib
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import pytest
import typer

from analysis.figures.gates import GATES
from gatebench.cli import app
from gatebench.cli.compose import for_people
from gatebench.cli.run import choose_workloads, words
from gatebench.contract.file import load_contract
from gatebench.registry import servers
from gatebench.registry.registry import load_registry, select_subjects
from gatebench.words import errors
from gatebench.words.commands import fill
from gatebench.words.model import Subject
from gatebench.words.paths import ROOT
from tests.support.documents import DOCUMENTS, TEXTS, commands
from tools.documents.tables import REGISTRY, TABLES, TARGETS, VARIABLES, between

COMMANDS = typer.main.get_group(app.app).commands


@pytest.mark.parametrize(("document", "name"), TABLES)
def test_a_table_is_what_the_code_and_the_folders_say(document: str, name: str) -> None:
    expected = TABLES[document, name]()
    assert between(TEXTS[document], name)[0] == f"{expected}\n", (
        f"run `.venv/bin/python -m tools.documents`, or let there stand:\n{expected}"
    )


# Commands ---------------------------------------------------------------------------------------------------


def test_every_make_command_names_targets_and_variables_of_the_makefile() -> None:
    for command in commands("make"):
        targets = {word for word in command if "=" not in word}
        variables = {word.partition("=")[0] for word in command if "=" in word}
        assert targets <= set(TARGETS), command
        assert variables <= VARIABLES, command


def test_every_variable_of_the_makefile_has_a_row_in_the_reference() -> None:
    section = TEXTS["docs/reference.md"].split("\n## Variables\n")[1].split("\n#")[0]
    assert set(re.findall(r"^\| `([A-Z_]+)", section, re.MULTILINE)) == VARIABLES


def test_every_gatebench_command_has_that_subcommand_and_those_options() -> None:
    for command in commands("gatebench"):
        subcommand, *rest = command
        assert subcommand in COMMANDS, command
        known = {name for parameter in COMMANDS[subcommand].params for name in parameter.opts} | {"--help"}
        assert {word for word in rest if word.startswith("-")} <= known, command


def test_every_docker_compose_command_names_services_and_profiles_that_there_are() -> None:
    services = for_people(REGISTRY).services
    profiles = {name for service in services for name in service.profiles}
    for command in (each for each in commands("docker") if each[0] == "compose"):
        if "--profile" in command:
            assert command[command.index("--profile") + 1] in profiles | {"*"}, command
        elif (verb := next(word for word in command[1:] if not word.startswith("-"))) in {"up", "build"}:
            named = command[-1:] if command[-1] != verb else []
            assert set(named) <= {service.name for service in services}, command


def test_the_reference_lists_every_exit_status() -> None:
    known = {errors.EXIT_DONE, errors.EXIT_FAILED, errors.EXIT_USAGE}
    section = TEXTS["docs/reference.md"].split("\n## Exit statuses\n")[1].split("\n## ")[0]
    listed = {int(status) for status in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    assert listed == known | {errors.EXIT_INTERRUPTED}


def test_every_line_that_hardens_containers_is_explained() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    lines = compose.split("\nx-hardening:")[1].split("\n\n")[0]
    explained = between(TEXTS["docs/containers.md"], "hardening")[0]
    named = re.findall(r"^\| `(\w+)`", explained, re.MULTILINE)
    assert named == re.findall(r"^  (\w+):", lines, re.MULTILINE)


# Examples ---------------------------------------------------------------------------------------------------


SELECTING = ("SERVERS=", "APPS=", "WORKLOADS=")


def write_example(folder: Path, *names: str) -> None:
    """Writes files that the documents show, each under its name on the line before the code."""
    text = TEXTS["README.md"] + TEXTS["docs/extending.md"]
    shown = dict(re.findall(r"^`([^`\n]+)`:\n\n```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(shown[name], encoding="utf-8")


def test_every_make_command_selects_subjects_and_workloads_that_there_are(tmp_path: Path) -> None:
    write_example(
        tmp_path,
        "my-servers/uvicorn_034/server.toml",
        "my-servers/uvicorn_034/requirements.txt",
        "apps/hello/wsgi.py",
        "apps/hello/app.toml",
        "my-workloads/json/workload.toml",
    )
    # Who follows the README has the example's folder in the repository already.
    shipped = tmp_path / "shipped"
    (shipped / "apps").mkdir(parents=True)
    for name in ("servers", "loadtests", *(f"apps/{each}" for each in REGISTRY.applications)):
        (shipped / name).symlink_to(ROOT / name)
    registry = load_registry(
        shipped, [tmp_path / "my-servers"], [tmp_path / "apps"], [tmp_path / "my-workloads"]
    )
    for command in commands("make"):
        variables = (word.partition("=") for word in command if word.startswith(SELECTING))
        given = {name: words([value]) for name, _, value in variables}
        subjects = select_subjects(registry, given.get("SERVERS", ()), given.get("APPS", ())).subjects
        assert choose_workloads(registry, given.get("WORKLOADS", ()), "standard"), command
        if "hello" in given.get("APPS", ()):
            assert {subject.id for subject in subjects} == {"waitress", "waitress+hello"}
            assert registry.applications["hello"].routes == frozenset({"/plaintext"})


def test_the_example_of_a_server_registers_and_its_command_can_be_filled_in(tmp_path: Path) -> None:
    write_example(tmp_path, "my-servers/uvicorn_034/server.toml", "my-servers/uvicorn_034/requirements.txt")

    registry = load_registry(ROOT, servers_dirs=[tmp_path / "my-servers"])

    subject = next(each for each in registry.subjects() if each.id == "uvicorn_034")
    argv = fill(subject.variant.command, {"host": "127.0.0.1", "port": "8000", "app": "apps.plain.asgi:app"})
    assert argv[:5] == ("uvicorn", "--host", "127.0.0.1", "--port", "8000")
    assert argv[-1] == "apps.plain.asgi:app"


def test_the_example_of_a_workload_registers_and_asks_what_the_contract_answers(tmp_path: Path) -> None:
    write_example(tmp_path, "my-workloads/json/workload.toml")

    workload = load_registry(ROOT, workloads_dirs=[tmp_path / "my-workloads"]).workloads["json"]

    assert load_contract().expect(workload.request.method, workload.request.path, b"").status == 200


def test_the_example_of_an_application_registers_and_answers(tmp_path: Path) -> None:
    write_example(tmp_path, "apps/wrapped/wsgi.py")
    folder = tmp_path / "apps" / "wrapped"
    application = servers.parse_application(folder, tmp_path)
    plain = next(each for each in REGISTRY.subjects() if each.variant.interface == "wsgi")
    assert application.wsgi == "apps.wrapped.wsgi:app"
    assert Subject(plain.server, plain.variant, application).id == f"{plain.id}+wrapped"

    environ: dict[str, object] = {"PATH_INFO": "/plaintext"}
    setup_testing_defaults(environ)
    heads: list[tuple[str, list[tuple[str, str]]]] = []
    app = runpy.run_path(str(folder / "wsgi.py"))["app"]
    body = b"".join(app(environ, lambda status, headers, _=None: heads.append((status, headers))))

    assert body == load_contract().expect("GET", "/plaintext", b"").body
    assert ("X-Wrapped", "yes") in heads[0][1]


# Words and links --------------------------------------------------------------------------------------------


def outside_the_headline(text: str) -> str:
    return re.sub(r"<!-- headline:begin -->.*?<!-- headline:end -->", "", text, flags=re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_within_the_repository_leads_somewhere(document: str) -> None:
    for address in re.findall(r"\]\(([^)\s]+)\)", outside_the_headline(TEXTS[document])):
        if "://" in address:
            continue
        path, _, anchor = address.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), address
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), address


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_of_the_repository_that_is_named_exists(document: str) -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    text = re.sub(r"^`[^`\n]+`:$", "", outside_the_headline(TEXTS[document]), flags=re.MULTILINE)
    for name in re.findall(r"`([\w.-]+/[\w./*-]*)`", text):
        if name.split("/")[0] in folders - {"results"}:
            assert list(ROOT.glob(name.rstrip("/"))), name


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_name_of_a_module_is_in_it(document: str) -> None:
    for name, path in re.findall(r"`(\w+)`\s+(?:of|in)\s+`([\w/]+\.py)`", TEXTS[document]):
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text(encoding="utf-8")), (name, path)


MODULES = [
    path
    for folder in ("analysis", "apps", "gatebench", "loadtests", "servers", "tests", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def test_every_place_in_the_method_that_the_code_names_is_there() -> None:
    headings = set(re.findall(r"^#+ (.+)$", TEXTS["METHOD.md"], re.MULTILINE))
    named = [
        (title, path.relative_to(ROOT).as_posix())
        for path in MODULES
        for title in re.findall(r'METHOD\.md,\s+"([^"]+)"', path.read_text(encoding="utf-8"))
    ]
    assert named
    assert [each for each in named if each[0] not in headings] == []


def parameters_told(docstring: str | None) -> list[str]:
    """The names in the part `Args:` of a docstring."""
    part = re.search(r"^Args:\n((?: {4}.*\n?|\n)+)", docstring or "", re.MULTILINE)
    return re.findall(r"^ {4}\**(\w+): ", part[1], re.MULTILINE) if part else []


def parameters_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> set[str]:
    """What a function takes; of a class, its `__init__`, or the fields of a dataclass."""
    if isinstance(node, ast.ClassDef):
        for each in node.body:
            if isinstance(each, ast.FunctionDef) and each.name == "__init__":
                return parameters_of(each)
        return {each.target.id for each in node.body if isinstance(each, ast.AnnAssign)}  # type: ignore[union-attr]
    taken = node.args
    several = [each for each in (taken.vararg, taken.kwarg) if each is not None]
    return {each.arg for each in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs, *several)}


def gone(source: str) -> list[str]:
    """The parameters that docstrings of a module tell of and that are not there, with their owners."""
    return [
        f"{node.name}: {name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for name in parameters_told(ast.get_docstring(node))
        if name not in parameters_of(node)
    ]


def test_a_parameter_that_is_gone_is_found() -> None:
    source = 'class A:\n    """One.\n\n    Args:\n        a: one.\n        b: gone.\n    """\n'
    assert gone(source + "    def __init__(self, a):\n        pass\n") == ["A: b"]
    assert gone(source + "    a: int\n    b: int\n") == []


def test_every_parameter_that_a_docstring_tells_of_is_there() -> None:
    told = {path.relative_to(ROOT).as_posix(): gone(path.read_text(encoding="utf-8")) for path in MODULES}
    assert {path: names for path, names in told.items() if names} == {}


def test_every_code_of_a_reason_is_explained_in_the_method() -> None:
    sources = ("analysis/figures/summary.py", "analysis/figures/percentiles.py")
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in sources)
    codes = set(re.findall(r'f?"([a-z]+(?:-[a-z]+)*): ', text)) | {"start"}
    explained = set(re.findall(r"^\| `([a-z-]+)` \|", TEXTS["docs/method/gates.md"], re.MULTILINE))
    assert {"not-measured", "unsupported"} <= codes
    assert codes <= explained


def test_the_method_in_short_names_every_gate_once() -> None:
    section = TEXTS["METHOD.md"].split("\n## The gates\n")[1].split("\n## ")[0]
    assert sorted(re.findall(r"`([a-z-]+)`", section)) == sorted(gate.code for gate in GATES)


def test_the_changelog_has_an_entry_for_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\n## {version} " in TEXTS["CHANGELOG.md"]
