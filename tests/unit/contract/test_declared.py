"""An application that declares routes is held to these, and to nothing beyond them."""

from __future__ import annotations

import pytest

from gatebench.contract.file import load_contract
from gatebench.contract.rules import LEAST_ON_CONNECTION, Scope
from gatebench.contract.site import Check

CONTRACT = load_contract()


def test_an_application_that_declares_nothing_is_held_to_all_of_the_contract_that_needs_no_database() -> None:
    whole = CONTRACT.declared(None)
    left_out = {route.form for route in CONTRACT.routes} - {route.form for route in whole.routes}
    assert left_out == {route.form for route in CONTRACT.routes if route.requires}
    assert [case for case in CONTRACT.cases if not case.target.startswith("/db/")] == list(whole.cases)
    assert (whole.connection, whole.websockets) == (CONTRACT.connection, CONTRACT.websockets)
    assert CONTRACT.resources({"/", "/db/row/{id}"}) == {"database"}
    assert CONTRACT.resources({"/"}) == frozenset()


def test_no_refusal_and_no_head_is_asked_of_an_application_that_declares_routes() -> None:
    part = CONTRACT.declared(frozenset({"/plaintext", "/echo", "/bytes/{n}"}))
    assert {case.method for case in part.cases} == {"GET", "POST"}
    assert {CONTRACT.status(case.method, case.target, len(case.send.make())) for case in part.cases} == {200}
    assert {CONTRACT.form_of(case.method, case.target) for case in part.cases} == {
        "/plaintext",
        "/echo",
        "/bytes/{n}",
    }
    assert part.websockets == ()


def test_every_route_of_the_contract_can_be_declared_alone_and_has_a_case_that_shows_readiness() -> None:
    for route in CONTRACT.routes:
        first = CONTRACT.declared(frozenset({route.form})).first
        assert CONTRACT.form_of(first.method, first.target) == route.form
        assert not first.thorough


def test_readiness_asks_for_the_root_where_it_is_declared() -> None:
    assert CONTRACT.first.name == "GET /"
    assert CONTRACT.declared(frozenset({"/json", "/"})).first.name == "GET /"
    assert CONTRACT.declared(frozenset({"/json", "/wait/{ms}"})).first.name == "GET /json"


@pytest.mark.parametrize(
    "routes", [{"/wait/{ms}"}, {"/plaintext"}, {"/echo"}, {"/plaintext", "/json", "/bytes/{n}"}]
)
def test_keep_alive_is_verified_with_several_requests_whatever_is_declared(routes: set[str]) -> None:
    asked = CONTRACT.declared(frozenset(routes)).connection
    assert len(asked) >= LEAST_ON_CONNECTION
    assert {CONTRACT.form_of(case.method, case.target) for case in asked} <= routes


def test_a_declared_websocket_is_held_to_the_contract_and_no_other() -> None:
    part = CONTRACT.declared(frozenset({"/", "/ws/echo"}))
    assert [case.path for case in part.websockets] == ["/ws/echo"]


def test_what_may_be_declared_are_the_routes_and_the_websockets_that_do_something() -> None:
    assert {"/", "/wait/{ms}", "/ws/echo", "/ws/broadcast"} <= set(CONTRACT.forms)
    assert "/ws/missing" not in CONTRACT.forms


def test_of_what_is_declared_later_blocks_ask_what_the_load_uses() -> None:
    routes = frozenset({"/plaintext", "/json"})
    check = Check("127.0.0.1", 1, "wsgi", frozenset({"close"}), 1, Scope(frozenset({"/json"})), routes)
    assert [case.name for case in check.part_of(CONTRACT).cases] == ["GET /json"]
