"""The errors that Gatebench shows to a person: what is wrong, where, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable


class GatebenchError(Exception):
    """An error with a text for the person who runs the lab; shown without a traceback."""


class ConfigurationError(GatebenchError):
    """Bad usage or configuration, found before anything was started (exit status 2).

    Carries every problem that was found, not only the first.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class ServerFailure(GatebenchError):  # noqa: N818 - it reports an event of a run, not a fault of the lab
    """One server could not be started, failed its contract or died; the run goes on without it.

    Attributes:
        code: a code of METHOD.md (`contract`, `died`) or `start`.
        text: what happened, with the last lines of the server's log where there are any.
    """

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(f"{code}: {text}")
