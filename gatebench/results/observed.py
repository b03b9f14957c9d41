"""What a subject was seen to run on, and what its variant must be seen to run on."""

from __future__ import annotations

from gatebench.results.surroundings import Part, Text
from gatebench.words.footing import NOT_OBSERVED, PARSERS, SOCKET_LIBRARIES, kept_to, libraries_in_words
from gatebench.words.text import counted


class ObservedMeta(Part):
    """What a subject was seen to run with, once its servers answered. What was not observed is empty or None.

    Attributes:
        loop: the library of the event loop that ran the application, such as `uvloop`.
        loop_class: the loop's class.
        libraries: of those that run loops, parse HTTP/1.1 or speak WebSocket, the ones that were loaded.
        mapped: the same of compiled ones, as the kernel showed them; of processes only.
        tls: whether the application was called over TLS.
        processes, threads: how many it had, the most that were seen.
    """

    loop: Text = ""
    loop_class: Text = ""
    libraries: tuple[str, ...] | None = None
    mapped: tuple[str, ...] | None = None
    tls: bool | None = None
    processes: int | None = None
    threads: int | None = None

    @property
    def http(self) -> str:
        """What parses HTTP/1.1: the libraries for it that are loaded, or `own`."""
        return NOT_OBSERVED if self.libraries is None else kept_to(self.libraries, PARSERS)

    @property
    def websocket(self) -> str:
        """What speaks WebSocket: the libraries for it that are loaded, or `own`."""
        return NOT_OBSERVED if self.libraries is None else kept_to(self.libraries, SOCKET_LIBRARIES)

    @property
    def in_words(self) -> str:
        """`uvloop, httptools, websockets; 2 processes, 5 threads`: what is known of it."""
        runs_on = self.loop
        if self.libraries is not None:
            loop = self.loop or ("gevent" if "gevent" in self.libraries else "")
            runs_on = libraries_in_words(loop, self.http, self.websocket)
        counts = [] if self.processes is None else [counted(self.processes, "process", "processes")]
        counts += [] if self.threads is None else [counted(self.threads, "thread")]
        return "; ".join(filter(None, (runs_on, ", ".join(counts)))) or NOT_OBSERVED

    def beside(self, later: ObservedMeta) -> ObservedMeta:
        """Both looks as one: what the application said at any time, and the most processes and threads."""
        told = self if later.libraries is None else later
        counts = [(self.processes, later.processes), (self.threads, later.threads)]
        most = [max((each for each in both if each is not None), default=None) for both in counts]
        return told.replaced(mapped=later.mapped or self.mapped, processes=most[0], threads=most[1])


class ExpectsMeta(Part):
    """What a variant must be seen to run on; empty where it says nothing."""

    loop: Text = ""
    http: Text = ""
    websocket: Text = ""
