"""Synchronous views, for WSGI."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from apps.django_orm.models import Counter, Entry, Fortune
from apps.django_orm.pages import page
from apps.plain.stored import counter, entry, keys, to_json

JSON = "application/json"


def row(request: HttpRequest, key: int) -> HttpResponse:
    """One row by its key."""
    found = Entry.objects.get(id=key)
    return HttpResponse(to_json(entry(found.id, found.value)), content_type=JSON)


def rows(request: HttpRequest, first: int) -> HttpResponse:
    """Twenty rows, a query each."""
    found = [Entry.objects.get(id=key) for key in keys(first)]
    return HttpResponse(to_json([entry(each.id, each.value) for each in found]), content_type=JSON)


def fortunes(request: HttpRequest) -> HttpResponse:
    """Every row of a table as a page."""
    return page([(each.id, each.message) for each in Fortune.objects.all()])


@csrf_exempt
def update(request: HttpRequest, number: int) -> HttpResponse:
    """Reads a row, changes it and writes it."""
    with transaction.atomic():
        found = Counter.objects.get(id=counter(number))
        found.value = number
        found.save()
    return HttpResponse(to_json(entry(found.id, number)), content_type=JSON)


urlpatterns = [
    path("db/row/<int:key>", row),
    path("db/rows/<int:first>", rows),
    path("db/fortunes", fortunes),
    path("db/update/<int:number>", update),
]
