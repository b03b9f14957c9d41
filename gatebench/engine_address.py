"""Where the engine is that the `docker` command would use, and whether Compose is there to use it."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import Any

import docker
from docker.context import ContextAPI
from docker.context.config import get_current_context_name

from gatebench.errors import GatebenchError

UNIX = "unix://"
CONNECT_S = 5.0
COMPOSE_ANSWER_S = 10.0


class EngineAbsentError(GatebenchError):
    """There is no engine that could be used; the text says why and what to do next."""


def engine_address() -> tuple[str, Any]:
    """Where the `docker` command would connect to, and its TLS settings."""
    if os.environ.get("DOCKER_HOST"):
        settings = docker.utils.kwargs_from_env()
        return settings["base_url"], settings.get("tls", False)
    name = os.environ.get("DOCKER_CONTEXT") or get_current_context_name()
    context = ContextAPI.get_context(name)
    if context is None:
        raise ValueError(
            f'there is no Docker context "{name}"; `docker context ls` shows those that there are'
        )
    return context.Host, context.TLSConfig or False


def check_socket(address: str) -> None:
    """Connects to a Unix socket and lets go of it again; every other address passes.

    The SDK never closes the socket of its own with which it could not connect.

    Raises:
        OSError: nobody listens there, or this user may not use it.
    """
    if address.startswith(UNIX):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONNECT_S)
            probe.connect(address.removeprefix(UNIX))


def compose_version() -> str:
    """Asks the Compose plug-in.

    Raises:
        EngineAbsentError: it cannot be used.
    """
    command = ["docker", "compose", "version", "--short"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPOSE_ANSWER_S, check=True)
    except FileNotFoundError as error:
        raise EngineAbsentError(
            "a Docker engine answers, but the command `docker` is missing: install it and its Compose "
            "plug-in (docker-cli and docker-compose-plugin)"
        ) from error
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineAbsentError(
            "a Docker engine answers, but `docker compose version` does not: install the Compose plug-in "
            "(docker-compose-plugin)"
        ) from error
    return done.stdout.strip()
