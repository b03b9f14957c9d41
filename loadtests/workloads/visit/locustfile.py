"""A small visit, over and over: a page, a little JSON, an upload. Every byte of every answer is checked.

It runs on its own as well: `locust -f loadtests/workloads/visit/locustfile.py --host http://127.0.0.1:8000`.
"""

from __future__ import annotations

from locust import FastHttpUser, SequentialTaskSet, between, task

from gatebench.contract.file import load_contract

CONTRACT = load_contract()
UPLOAD = bytes(range(256)) * 16  # 4 KiB


class Visit(SequentialTaskSet):
    """The requests of one visit, in their order."""

    @task
    def page(self) -> None:
        """Opens the page."""
        self.ask("GET", "/")

    @task
    def data(self) -> None:
        """Fetches the JSON."""
        self.ask("GET", "/json")

    @task
    def upload(self) -> None:
        """Sends something and gets it back."""
        self.ask("POST", "/echo", UPLOAD)

    def ask(self, method: str, path: str, body: bytes = b"") -> None:
        """Sends a request and holds the answer to the contract."""
        expected = CONTRACT.expect(method, path, body)
        with self.client.request(method, path, data=body, catch_response=True) as answer:
            if answer.status_code != expected.status:
                answer.failure(f"status {answer.status_code}, not {expected.status}")
            elif answer.content != expected.body:
                answer.failure(f"not the contract's {len(expected.body)} bytes")
            else:
                answer.success()


class Visitor(FastHttpUser):
    """Somebody who looks at each answer for a moment."""

    wait_time = between(0.01, 0.03)
    tasks = [Visit]  # noqa: RUF012 - Locust declares it without ClassVar
