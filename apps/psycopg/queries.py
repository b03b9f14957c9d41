"""What both forms ask, and the page that they make."""

from jinja2 import Environment

from apps.plain.stored import ADDED, PAGE

READ = "SELECT id, value FROM entry WHERE id = %s"
COUNTER = "SELECT id, value FROM counter WHERE id = %s"
UPDATE = "UPDATE counter SET value = %s WHERE id = %s"
FORTUNES = "SELECT id, message FROM fortune"

JSON, HTML = "application/json", "text/html; charset=utf-8"
template = Environment(autoescape=True).from_string(PAGE)


def page(rows: list[tuple[int, str]]) -> bytes:
    """The page of the fortunes, with one more than are stored."""
    fortunes = sorted([*rows, ADDED], key=lambda each: each[1])
    return template.render(fortunes=fortunes).encode()
