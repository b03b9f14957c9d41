"""Verification finds each planted fault, under its own name, and goes on after it."""

from __future__ import annotations

from collections.abc import Callable

from gatebench.contract.rules import Scope
from gatebench.contract.verify import Difference, abbreviate, body_difference, verify
from gatebench.words.model import CAPABILITIES, Capability
from tests.support.contract_server import CONTRACT, HANG, ContractServer, Faults
from tests.support.lab import found_undisturbed
from tests.support.scripted import listening_without_answer

ALL = frozenset(CAPABILITIES)


def check(
    faults: Faults,
    supports: frozenset[Capability] = ALL,
    *,
    thorough: bool = False,
    timeout_s: float = 5.0,
    workers: int = 1,
    scope: Scope | None = None,
) -> tuple[Difference, ...]:
    with ContractServer(faults) as server:
        return verify(
            "asgi",
            supports,
            "127.0.0.1",
            server.port,
            CONTRACT if scope is None else CONTRACT.within(scope),
            thorough=thorough,
            timeout_s=timeout_s,
            workers=workers,
        )


def spoiled(request: str, how: Callable[[bytes], bytes]) -> tuple[Difference, ...]:
    return check(Faults(spoil={request: how}, upgrades=False), ALL - {"websocket"})


def spoiled_head(how: Callable[[bytes], bytes]) -> tuple[Difference, ...]:
    faults = Faults(spoil={"HEAD /plaintext": how}, keeps=False, upgrades=False)
    return check(faults, frozenset({"close", "streaming"}))


def test_a_server_that_keeps_the_contract_has_no_difference() -> None:
    assert check(Faults(), thorough=True) == ()


def test_a_server_without_keep_alive_and_websocket_has_no_difference_where_it_declares_none() -> None:
    assert check(Faults(keeps=False, upgrades=False), frozenset({"close"})) == ()


def test_a_wrong_byte_is_shown_at_its_place() -> None:
    (found,) = spoiled("GET /cpu/10", lambda answer: answer[:-1] + b"!")
    assert (found.case, found.aspect) == ("GET /cpu/10", "body")
    assert "differs from 63 on" in found.got


def test_a_truncated_body_is_an_answer_that_never_came_whole() -> None:
    (found,) = spoiled("GET /cpu/10", lambda answer: answer[:-1])
    assert (found.case, found.aspect) == ("GET /cpu/10", "connection")
    assert "received 63 bytes, expected 64" in found.got


def test_a_wrong_status_is_named() -> None:
    (found,) = spoiled("GET /cpu/10", lambda answer: answer.replace(b" 200 ", b" 203 ", 1))
    assert found == Difference("GET /cpu/10", "status", "200", "203")


def test_a_missing_header_is_named() -> None:
    (found,) = spoiled("GET /echo", lambda answer: answer.replace(b"allow:", b"x-allow:", 1))
    assert found == Difference("GET /echo", "header allow", "'POST'", "none")


def test_a_wrong_header_is_shown_with_both_values() -> None:
    (found,) = spoiled("GET /cpu/10", lambda answer: answer.replace(b"text/plain", b"text/html", 1))
    assert found == Difference("GET /cpu/10", "header content-type", "'text/plain'", "'text/html'")


def test_chunks_where_a_length_is_promised_are_a_difference() -> None:
    def chunked(answer: bytes) -> bytes:
        head, _, body = answer.partition(b"\r\n\r\n")
        head = head.replace(b"content-length: 64", b"transfer-encoding: chunked")
        return head + b"\r\n\r\n40\r\n" + body + b"\r\n0\r\n\r\n"

    (found,) = spoiled("GET /cpu/10", chunked)
    assert found == Difference("GET /cpu/10", "header content-length", "'64'", "none")


def test_a_counted_stream_is_a_difference_where_streaming_is_declared() -> None:
    counted = {"GET /stream/20": _counted}
    (found,) = check(Faults(spoil=counted))
    assert (found.case, found.aspect) == ("GET /stream/20", "header content-length")
    assert check(Faults(spoil=counted), ALL - {"streaming"}) == ()


def _counted(answer: bytes) -> bytes:
    head, _, _ = answer.partition(b"\r\n\r\n")
    body = CONTRACT.expect("GET", "/stream/20").body
    return head.replace(b"transfer-encoding: chunked", b"content-length: %d" % len(body)) + b"\r\n\r\n" + body


def test_a_body_after_head_is_found_behind_the_answer() -> None:
    (found,) = spoiled_head(lambda answer: answer + b"Hello, World!")
    assert found == Difference("HEAD /plaintext", "framing", "nothing after the answer", "b'Hello, World!'")


def test_a_length_after_head_that_differs_from_get_is_a_difference() -> None:
    (found,) = spoiled_head(lambda answer: answer.replace(b"length: 13", b"length: 0", 1))
    assert found.aspect == "header content-length"
    assert (found.expected, found.got) == ("'13' as for GET, or none", "'0'")


def test_no_length_after_head_is_no_difference() -> None:
    assert spoiled_head(lambda answer: answer.replace(b"content-length: 13\r\n", b"", 1)) == ()


def test_an_answer_that_is_not_http_is_a_difference() -> None:
    (found,) = spoiled("GET /cpu/10", lambda _: b"500 Oops\r\n\r\n")
    assert found.aspect == "connection"
    assert "no whole HTTP answer" in found.got


def test_a_hang_is_a_difference_and_the_next_case_goes_on() -> None:
    spoil = {
        "GET /cpu/10": lambda _: HANG,
        "GET /missing": lambda answer: answer.replace(b" 404", b" 200", 1),
    }
    faults = Faults(spoil=spoil, keeps=False, upgrades=False)
    hang, status = check(faults, frozenset({"close"}), timeout_s=0.3)
    assert (hang.case, hang.aspect, hang.got) == ("GET /cpu/10", "connection", "nothing more within 0.3 s")
    assert (status.case, status.aspect) == ("GET /missing", "status")


def test_a_wait_that_does_not_wait_is_a_difference() -> None:
    def differences() -> list[tuple[str, str, str]]:
        return [(each.case, each.aspect, each.expected) for each in check(Faults(waits=False))]

    # Where the machine itself takes 5 ms for an answer, none can come too early.
    assert found_undisturbed(differences, lambda found: found == [("GET /wait/5", "time", "5 ms or more")])


def test_interface_is_held_to_its_shape() -> None:
    def renamed(answer: bytes) -> bytes:
        return answer.replace(b'"asgi", "keys"', b'"wsgi", "keys"').replace(b'"method"', b'"mathod"')

    found = spoiled("GET /interface", renamed)
    assert {(each.aspect, each.expected) for each in found} == {("interface", "'asgi'"), ("keys", "method")}


def test_a_connection_closed_although_keep_alive_is_declared_is_a_difference() -> None:
    (found,) = check(Faults(keeps=False))
    assert found.aspect == "keep-alive"
    assert "request 2 of 6" in found.case


def test_a_connection_kept_although_keep_alive_is_not_declared_is_a_difference() -> None:
    (found,) = check(Faults(), ALL - {"keep-alive"}, timeout_s=0.3)
    assert found.aspect == "close"
    assert "`keep-alive` is not declared" in found.expected


def test_a_connection_kept_although_close_was_asked_is_said_once_for_all_cases() -> None:
    found = check(Faults(closes=False), timeout_s=0.3)
    assert [each.aspect for each in found] == ["close", "close"]
    assert found[0].case == "GET /"
    assert "on one connection" in found[1].case


def test_an_upgrade_is_a_difference_where_websocket_is_not_declared() -> None:
    found = check(Faults(), ALL - {"websocket"})
    assert [each.case for each in found] == ["WS /ws/echo", "WS /ws/broadcast"]
    assert {each.got for each in found} == {"an upgrade (101)"}


def test_a_refused_upgrade_is_a_difference_where_websocket_is_declared() -> None:
    found = check(Faults(upgrades=False))
    assert [each.case for each in found] == ["WS /ws/echo", "WS /ws/broadcast"]
    assert "the upgrade was refused with 404" in found[0].got


def test_a_changed_message_is_a_difference() -> None:
    found = check(
        Faults(
            reply=lambda message: message.replace("World", "Moon") if isinstance(message, str) else message
        )
    )
    assert found == (Difference("WS /ws/echo", "message", "text 'Hello, World!'", "text 'Hello, Moon!'"),)


def test_binary_given_back_as_text_is_a_difference() -> None:
    found = check(Faults(reply=lambda message: message if isinstance(message, str) else message.decode()))
    assert ("binary b'a'", "text 'a'") in [(each.expected, each.got) for each in found]


def test_a_broadcast_that_reaches_only_its_sender_is_a_difference() -> None:
    (found,) = check(Faults(reaches_all=False), timeout_s=0.3)
    assert (found.case, found.aspect) == ("WS /ws/broadcast", "websocket")


def test_a_broadcast_need_not_reach_the_sockets_of_other_processes() -> None:
    assert check(Faults(reaches_all=False), workers=2) == ()


def test_a_close_with_another_code_is_a_difference() -> None:
    found = check(Faults(close_code=1011))
    assert Difference("WS /ws/echo", "close", "1000", "1011") in found


def test_nothing_listening_gives_a_difference_for_every_check_without_raising() -> None:
    with listening_without_answer() as port:
        pass
    found = verify("wsgi", ALL, "127.0.0.1", port, CONTRACT, thorough=False, timeout_s=1)
    assert {each.aspect for each in found} == {"connection", "keep-alive", "websocket", "upgrade"}
    assert all("no connection" in each.got for each in found)


def test_long_bodies_are_shown_from_shortly_before_their_first_difference() -> None:
    expected, got = body_difference(b"x" * 1000, b"x" * 500 + b"y" + b"x" * 499)
    assert expected.startswith("1,000 bytes, at 480: b'xxx")
    assert "differs from 500 on" in got
    assert "y" in got
    assert abbreviate(b"z" * 1000).endswith("… (1,000 bytes)")


def test_within_a_scope_only_its_routes_and_sockets_are_asked() -> None:
    def spoilt(answer: bytes) -> bytes:
        return answer[:-1] + b"\xff"

    wrong = dict.fromkeys(("GET /plaintext", "GET /cpu/10", "GET /missing"), spoilt)
    faults = Faults(spoil=wrong, reply=lambda message: message[:1])
    assert check(faults, scope=Scope(frozenset({"/wait/{ms}"}))) == ()
    plain = check(faults, scope=Scope(frozenset({"/plaintext", "/cpu/{rounds}"})))
    assert {each.case for each in plain} == {"GET /plaintext", "GET /cpu/10"}
    kept = check(faults, scope=Scope(keeps=True))
    assert {each.case.partition(" (")[0] for each in kept} == {"GET /plaintext", "GET /missing"}
    sockets = check(faults, scope=Scope(sockets=frozenset({"/ws/echo"})))
    assert {each.case for each in sockets} == {"WS /ws/echo"}
