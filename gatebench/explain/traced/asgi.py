"""The plain application as ASGI 3, every step of which goes to the trace that the environment names."""

from __future__ import annotations

from apps.plain.asgi import app as plain
from gatebench.explain.trace import Trace, traced_asgi

app = traced_asgi(plain, Trace.from_environment())
