"""nginx as the null server of calibration: what it is asked, and its configuration. Pure.

nginx is what others measure load generators against, so that anybody can compare. It cannot answer everything
here: it echoes nothing and speaks no WebSocket; for those there is `loadtests.null_server`.
"""

from __future__ import annotations

from gatebench.contract import Contract
from loadtests.engine.target import Target

ROUTES = ("/", "/plaintext", "/json")
"""Small fixed answers, which nginx makes in memory."""

_CONFIGURATION = """\
worker_processes 1;
pid /scratch/nginx.pid;
error_log stderr error;
events {
    worker_connections 16384;
    multi_accept on;
}
http {
    access_log off;
    client_body_temp_path /scratch/body;
    proxy_temp_path /scratch/proxy;
    fastcgi_temp_path /scratch/fastcgi;
    uwsgi_temp_path /scratch/uwsgi;
    scgi_temp_path /scratch/scgi;
    keepalive_timeout 600s;
    keepalive_requests 2000000000;
    tcp_nodelay on;
    server {
        listen %s backlog=4096;
%s
    }
}
"""
_LOCATION = """\
        location = %s {
            default_type %s;
            return 200 '%s';
        }"""


def answers(target: Target) -> bool:
    """Whether nginx gives what the target expects."""
    return target.transport != "websocket" and target.method == "GET" and target.path in ROUTES


def configuration(host: str, port: int, contract: Contract) -> str:
    """The text of nginx.conf, for the working folder /scratch.

    Args:
        host: address to listen at.
        port: where it listens.
        contract: whose bytes the answers have.
    """
    locations = []
    for route in ROUTES:
        answer = contract.expect("GET", route)
        text = answer.body.decode()
        if "'" in text or "$" in text or "\\" in text:
            raise ValueError(f"{route}: nginx would take a part of its body for a variable or a quote")
        locations.append(_LOCATION % (route, dict(answer.headers)["content-type"], text))
    return _CONFIGURATION % (f"{host}:{port}", "\n".join(locations))
