"""Asynchronous views."""

from __future__ import annotations

import asyncio

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from apps.plain.routes import PAGE, sha256_rounds


async def page(request: HttpRequest) -> HttpResponse:
    """A page with one heading; Django's own type would have a charset, as that of a text."""
    return HttpResponse(PAGE, content_type="text/html")


async def plaintext(request: HttpRequest) -> HttpResponse:
    """A short text."""
    return HttpResponse("Hello, World!", content_type="text/plain")


async def small_json(request: HttpRequest) -> HttpResponse:
    """A small object, without the spaces that Django would write."""
    return JsonResponse({"message": "Hello, World!"}, json_dumps_params={"separators": (",", ":")})


async def wait(request: HttpRequest, ms: int) -> HttpResponse:
    """Answers after that many milliseconds."""
    await asyncio.sleep(ms / 1000)
    return HttpResponse(f"waited {ms} ms", content_type="text/plain")


async def cpu(request: HttpRequest, rounds: int) -> HttpResponse:
    """Computes."""
    return HttpResponse(sha256_rounds(rounds), content_type="text/plain")


@csrf_exempt
async def echo(request: HttpRequest) -> HttpResponse:
    """The request's body back."""
    return HttpResponse(request.body, content_type="application/octet-stream")


urlpatterns = [
    path("", page),
    path("plaintext", plaintext),
    path("json", small_json),
    path("wait/<int:ms>", wait),
    path("cpu/<int:rounds>", cpu),
    path("echo", echo),
]
