"""The contract's file is read strictly, and its rules give each request its answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.plain import routes
from gatebench.contract.file import CONTRACT_FILE, load_contract
from gatebench.contract.rules import Scope, parse_body, parse_literal
from gatebench.registry.contract import read_contract
from gatebench.words.errors import ConfigurationError
from tests.support.plans import REGISTRY

CONTRACT = load_contract()
TEXT = CONTRACT_FILE.read_text(encoding="utf-8")


def problems(tmp_path: Path, *changes: tuple[str, str]) -> tuple[str, ...]:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "contract.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        read_contract(path)
    assert all(str(path) in each for each in raised.value.problems)
    return tuple(each.removeprefix(f"{path}: ") for each in raised.value.problems)


def test_expect_gives_status_headers_and_body() -> None:
    expected = CONTRACT.expect("GET", "/json")
    assert expected.status == 200
    assert expected.headers == {"content-type": "application/json", "content-length": "27"}
    assert expected.body == b'{"message":"Hello, World!"}'


def test_expect_of_echo_is_the_body_sent() -> None:
    assert CONTRACT.expect("POST", "/echo", b"abc").body == b"abc"


def test_expect_of_a_stream_has_no_length() -> None:
    expected = CONTRACT.expect("GET", "/stream/3")
    assert expected.body == b"000000\n000001\n000002\n"
    assert "content-length" not in expected.headers


def test_expect_of_head_promises_no_body_and_no_length() -> None:
    expected = CONTRACT.expect("HEAD", "/plaintext")
    assert (expected.body, expected.headers) == (b"", {"content-type": "text/plain"})


def test_expect_of_a_wrong_method_names_the_right_ones() -> None:
    assert CONTRACT.expect("DELETE", "/json").headers["allow"] == "GET, HEAD"
    assert CONTRACT.expect("GET", "/echo").headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/missing", "/ws/echo", "/bytes", "/bytes/", "/bytes/1/2", "/plaintext/"])
def test_expect_refuses_a_path_that_no_route_has(path: str) -> None:
    with pytest.raises(ConfigurationError, match="no route of the contract; routes: /, /plaintext"):
        CONTRACT.expect("GET", path)


def test_expect_refuses_an_answer_that_is_not_fixed() -> None:
    with pytest.raises(ConfigurationError, match="/interface: its answer differs"):
        CONTRACT.expect("GET", "/interface")


def test_the_query_string_is_ignored_and_the_path_decoded() -> None:
    assert CONTRACT.expect("GET", "/bytes/%33?n=9").body == b"abc"


@pytest.mark.parametrize(
    ("rounds", "digest"),
    [
        (0, "0" * 64),
        # SHA-256 of 32 zero bytes, as `head --bytes 32 /dev/zero | sha256sum` gives it.
        (1, "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"),
        (2, "2b32db6c2c0a6235fb1397e8225ea85e0f0e6e8c7b126d0016ccbde0e667151e"),
    ],
)
def test_sha256_rounds_begin_with_zero_bytes(rounds: int, digest: str) -> None:
    assert CONTRACT.expect("GET", f"/cpu/{rounds}").body == digest.encode()


def test_neighbouring_pieces_of_bytes_differ() -> None:
    body = CONTRACT.expect("GET", "/bytes/262144").body
    pieces = {body[start : start + routes.PIECE_BYTES] for start in range(0, len(body), routes.PIECE_BYTES)}
    assert len(pieces) == 4


@given(
    argument=st.one_of(st.text("0123456789+-_. ²٣x", min_size=1, max_size=9), st.integers(0, 10**8).map(str))
)
def test_the_contract_and_the_application_take_the_same_arguments(argument: str) -> None:
    route = next(each for each in CONTRACT.routes if each.prefix == "/bytes/")
    assert route.accepts(argument) == (routes.number(argument, route.maximum) is not None)


def test_every_route_has_a_case() -> None:
    for route in CONTRACT.routes:
        asked = {case.method for case in CONTRACT.cases if route.argument_of(case.target) is not None}
        assert route.method in asked, route.prefix


def test_heavy_cases_are_left_to_the_thorough_verification() -> None:
    for case in CONTRACT.cases:
        answer = CONTRACT.answer(case.method, case.target, case.send.make())
        heavy = len(answer.body or b"") > 200_000 or answer.least_ms > 10 or len(case.send.make()) > 200_000
        assert case.thorough or not heavy, case.name


def test_a_case_needs_what_it_uses() -> None:
    needs = {case.name: CONTRACT.needs(case) for case in CONTRACT.cases}
    assert needs["GET /json"] == frozenset()
    assert needs["GET /stream/20"] == {"streaming"}
    assert needs["POST /echo (bytes:100000, chunked)"] == {"chunked-request"}


def test_a_scope_names_the_routes_and_the_sockets_that_workloads_use() -> None:
    scope = CONTRACT.scope_of(REGISTRY.workloads[name] for name in ("close", "wait", "websocket-echo"))
    assert scope == Scope(
        frozenset({"/plaintext", "/wait/{ms}"}), keeps=False, sockets=frozenset({"/ws/echo"})
    )
    kept = CONTRACT.scope_of([REGISTRY.workloads["keep-alive"]])
    assert kept == Scope(frozenset({"/plaintext"}), keeps=True)


def test_a_locust_file_may_ask_for_all_of_the_contract() -> None:
    visit = REGISTRY.workloads["visit"]
    assert visit.locustfile is not None
    assert CONTRACT.scope_of([REGISTRY.workloads["close"], visit]) is None


def test_every_workload_has_a_case_within_its_scope() -> None:
    for workload in REGISTRY.workloads.values():
        if (scope := CONTRACT.scope_of([workload])) is not None:
            part = CONTRACT.within(scope)
            assert part.websockets or not all(case.thorough for case in part.cases), workload.name
            assert bool(part.connection) == (workload.transport == "keep-alive")


def test_all_problems_are_reported_at_once_with_their_keys(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        ("schema = 1", "schema = 2"),
        ('content_type = "text/html"', 'content_typ = "text/html"'),
        ('body = "text:Hello, World!"', 'body = "hello"'),
        ("maximum = 67_108_864", 'maximum = "much"'),
        ('does = "refuse"', 'does = "refuses"'),
    )
    assert len(found) == 6
    assert "schema: must be 1, the version that this Gatebench reads" in found
    assert any(each.startswith("routes./.content_type: is missing") for each in found)
    assert any('content_typ: unknown key (did you mean "content_type"?)' in each for each in found)
    assert any("routes./plaintext.body: 'hello' is not a body; allowed: text:" in each for each in found)
    assert any("routes./bytes/{n}.maximum: must be a whole number" in each for each in found)
    assert any('websockets./ws/missing.does: "refuses" is not allowed' in each for each in found)


def test_a_case_under_the_wrong_status_is_a_problem(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, ('"GET /bytes/x"', '"GET /bytes/7"'))
    assert found == "cases.quick.400: 'GET /bytes/7' is answered with 200 by the routes"


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("get /json", "is not a case; the form is"),
        ("GET json", "is not a case; the form is"),
        ("POST /echo byte:7", "'byte:7' is not a body"),
        ("POST /echo bytes:x", "'bytes:x' is not a body"),
        ("POST /echo request", "stands for no bytes of its own"),
    ],
)
def test_a_case_that_cannot_be_read_is_a_problem(tmp_path: Path, case: str, problem: str) -> None:
    (found,) = problems(tmp_path, ('"POST /echo bytes:1000"', f'"{case}"'))
    assert found.startswith("cases.quick.200: ")
    assert problem in found


def test_a_route_that_is_no_path_is_a_problem(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, ('[routes."/json"]', '[routes."json"]'))
    assert found == 'routes.json: "json" is not a path such as /plaintext or /bytes/{n}'


def test_an_argument_range_that_is_empty_is_a_problem(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, ("minimum = 0\nmaximum = 1_000_000", "minimum = 7\nmaximum = 6"))
    assert found == "routes./cpu/{rounds}.maximum: 6 is under the minimum, 7"


def test_what_was_checked_is_read_as_the_same_contract_without_the_check() -> None:
    assert read_contract() == CONTRACT


@pytest.mark.parametrize("text", ["", "routes = 3", 'routes = { "/" = {} }', "routes = ["])
def test_a_contract_that_was_not_checked_is_refused_with_what_tells_its_faults(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "contract.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"contract\.toml: is no contract .*`gatebench list` says"):
        load_contract(path)


def test_only_a_path_with_an_argument_has_bounds(tmp_path: Path) -> None:
    found = problems(tmp_path, ('[routes."/cpu/{rounds}"]', '[routes."/cpu"]'))
    assert [each.partition(": ")[0] for each in found] == [
        "routes./cpu.minimum",
        "routes./cpu.maximum",
        "routes./cpu.body",
    ]
    assert found[0].endswith("is about the argument of a path such as /bytes/{n}, and this path has none")


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.toml: cannot be read"):
        read_contract(tmp_path / "missing.toml")


def test_a_number_may_only_refer_to_the_routes_own_argument() -> None:
    assert parse_body("bytes:{n}", "n").make(argument=("n", "2")) == b"ab"
    with pytest.raises(ValueError, match=r"'bytes:\{n\}' is not a body"):
        parse_body("bytes:{n}", "ms")


def test_a_text_may_hold_anything() -> None:
    assert parse_literal("text:a: b, grüße").make() == "a: b, grüße".encode()
