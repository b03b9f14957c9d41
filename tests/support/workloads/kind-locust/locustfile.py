"""Asks for the short text, with its body checked."""

from locust import FastHttpUser, constant, task


class Reader(FastHttpUser):
    """Reads and waits a moment."""

    wait_time = constant(0.02)

    @task
    def read(self) -> None:
        """Reads once."""
        with self.client.get("/plaintext", catch_response=True) as answer:
            if answer.content != b"Hello, World!":
                answer.failure("another text")
