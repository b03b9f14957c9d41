"""The bare application: it answers as the plain one does, and does less for what is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from apps.bare.asgi import app as bare_asgi
from apps.bare.wsgi import app as bare_wsgi
from apps.plain import routes
from apps.plain.asgi import app as plain_asgi
from apps.plain.wsgi import app as plain_wsgi
from gatebench.contract.file import load_contract
from gatebench.contract.rules import Case
from tests.support.plain_forms import answered, ask_environ, environ_for, run_asgi, scope_for

if TYPE_CHECKING:
    from apps.plain.events import Event

# What a server handed over differs from call to call, and is the plain application's to answer.
CASES = [
    case
    for case in load_contract().declared(None).cases
    if not case.target.startswith("/interface") and not case.chunked
]
GONE: Event = {"type": "http.disconnect"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_answers_every_case_of_the_contract_as_the_plain_application_does(case: Case) -> None:
    body = case.send.make()
    environs = [environ_for(case.method, case.target, body) for _ in range(2)]
    assert ask_environ(environs[0], form=bare_wsgi) == ask_environ(environs[1], form=plain_wsgi)

    scope = scope_for(case.method, case.target, [(b"content-length", str(len(body)).encode())])
    events: list[Event] = [{"type": "http.request", "body": body}]
    bare, plain = (answered(run_asgi(scope, events, form=form)) for form in (bare_asgi, plain_asgi))
    assert bare == plain


def test_it_answers_plain_text_without_the_plain_application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.bare.wsgi.plain", None)
    monkeypatch.setattr("apps.bare.asgi.plain", None)
    body = b"".join(routes.FIXED["/plaintext"].pieces)

    assert ask_environ(environ_for("GET", "/plaintext"), form=bare_wsgi).body == body
    assert answered(run_asgi(scope_for("GET", "/plaintext"), [], form=bare_asgi)).body == body


def test_a_client_that_went_away_ends_the_answer_quietly() -> None:
    sent = run_asgi(scope_for("GET", "/plaintext"), [GONE], fail_after=1, form=bare_asgi)

    assert [event["type"] for event in sent] == ["http.response.start"]
