"""The plain application as WSGI, every step of which goes to the trace that the environment names."""

from __future__ import annotations

from apps.plain.wsgi import app as plain
from gatebench.explain.trace import Trace, TracedWsgi

app = TracedWsgi(plain, Trace.from_environment())
