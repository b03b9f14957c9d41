"""The page that both kinds of views make, with Django's templates."""

from django.http import HttpResponse
from django.template import Context, Template

from apps.plain.stored import ADDED, PAGE


def page(rows: list[tuple[int, str]]) -> HttpResponse:
    """The page of the fortunes, with one more than are stored."""
    fortunes = sorted([*rows, ADDED], key=lambda each: each[1])
    return HttpResponse(Template(PAGE).render(Context({"fortunes": fortunes})))
