"""Reads TOML files into models, strictly: all faults are told at once, each a line with file and key."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainValidator,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from gatebench.words.text import listed, near, seconds

_Item = TypeVar("_Item")
_Table = TypeVar("_Table", bound="Table")
Place = tuple[int | str, ...]
"""The keys that lead to a value, and its position in a list."""
Fault = tuple[Place, str]
"""Where, and what is wrong there."""

_KINDS: Mapping[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple: "a list",
    frozenset: "a list",
    dict: "a table",
}
_OF_ERRORS: Mapping[str, str] = {
    "string_type": _KINDS[str],
    "literal_error": _KINDS[str],
    "bool_type": _KINDS[bool],
    "int_type": _KINDS[int],
    "float_type": _KINDS[float],
    "finite_number": "a finite number",
    "tuple_type": _KINDS[tuple],
    "frozen_set_type": _KINDS[frozenset],
    "dict_type": _KINDS[dict],
    "model_type": _KINDS[dict],
}
"""What a value must be, by the type of pydantic's error."""
_KEY = "[key]"
"""Follows a table's key that cannot be, in the places of pydantic's errors."""
_FORM = "[form]"
"""Follows the key that does not say which form a table has, so that nothing else in the table was checked."""


class Table(BaseModel):
    """One table of a file: its fields are the keys that it may have, and nothing is converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @model_validator(mode="wrap")
    @classmethod
    def _tell(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Words the faults here, where the keys are known."""
        try:
            return handler(data)
        except ValidationError as error:
            raise _told((each["loc"], cls._worded(each)) for each in error.errors()) from None

    @classmethod
    def _worded(cls, error: ErrorDetails) -> str:
        place, value, about = error["loc"], error["input"], error.get("ctx", {})
        fields = {field.alias or name: field for name, field in cls.model_fields.items()}
        every = "every item " if place and isinstance(place[-1], int) else ""
        match error["type"]:
            case "told":
                text = about["text"]
            case "value_error":
                text = about["error"]
            case "missing":
                text = f"is missing; it must be {_kind(fields[str(place[-1])].annotation)}"
            case "extra_forbidden":
                text = f"unknown key{near(str(place[-1]), sorted(fields))}; allowed: {listed(sorted(fields))}"
            case "literal_error" if isinstance(value, str):
                text = not_allowed(value, re.findall("'([^']+)'", about["expected"]))
            case "string_too_short":
                text = "no item may be empty" if every else "must not be empty"
            case "greater_than_equal":
                text = f"{value} is under {about['ge']}"
            case "greater_than":
                text = f"{value:g} is not positive"
            case kind if kind in _OF_ERRORS:
                text = every + _no(_OF_ERRORS[kind], value)
            case _:
                text = error["msg"]
        return str(text)


def load(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """What a file holds, or None with a problem noted where it is missing or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror or error}")
    except ValueError as error:  # of TOML, of UTF-8, or a number of thousands of digits
        problems.append(f"{path}: is not TOML: {error}")
    return None


def check(
    model: type[_Table],
    data: Mapping[str, Any],
    path: Path,
    problems: list[str],
    together: Callable[[dict[str, Any]], Iterable[Fault]],
) -> _Table | None:
    """The table that a file is, or None with every problem noted.

    Args:
        model: the file's keys.
        data: what `load` found in the file.
        path: of the file, which every problem names.
        problems: gets one line for each problem.
        together: finds what does not go together in the data, from which every value that is wrong by itself
            is left out.
    """
    table, faults = None, []
    try:
        table = model.model_validate(data)
    except ValidationError as error:
        faults = [(each["loc"], each["msg"]) for each in error.errors()]
    faults += together(_without(data, [place for place, _ in faults]))
    problems += (f"{path}: {_dotted(place)}: {text}" for place, text in faults)
    return None if faults else table


def not_allowed(value: str, allowed: Collection[str]) -> str:
    """What is told of a value that is none of those allowed."""
    return f'"{value}" is not allowed{near(value, allowed)}; allowed: {listed(allowed)}'


def one_of(allowed: Collection[str]) -> AfterValidator:
    """Takes the strings that are `allowed`, where they are no `Literal`."""

    def one(value: str) -> str:
        if value not in allowed:
            raise ValueError(not_allowed(value, allowed))
        return value

    return AfterValidator(one)


def like(form: re.Pattern[str], otherwise: str) -> AfterValidator:
    """Takes the strings of a form; `otherwise` says what is wrong with others."""

    def formed(value: str) -> str:
        if not form.fullmatch(value):
            raise ValueError(f'"{value}" {otherwise}')
        return value

    return AfterValidator(formed)


def read_by(parse: Callable[[str], object]) -> AfterValidator:
    """Takes the strings that `parse` can read, as they are; it raises a ValueError for others."""

    def readable(value: str) -> str:
        parse(value)
        return value

    return AfterValidator(readable)


def form_of(key: str, *tables: type[Table]) -> PlainValidator:
    """Reads a table that has several forms: the one whose literal is the string under `key`."""
    forms = {get_args(table.model_fields[key].annotation)[0]: table for table in tables}

    def read(data: object) -> Table:
        if not isinstance(data, dict):
            raise _told([((), _no(_KINDS[dict], data))])
        name = data.get(key)
        if key not in data:
            raise _told([((key, _FORM), f"is missing; it must be {_KINDS[str]}")])
        if not isinstance(name, str):
            raise _told([((key, _FORM), _no(_KINDS[str], name))])
        if name not in forms:
            raise _told([((key, _FORM), not_allowed(name, forms))])
        return forms[name].model_validate(data)

    return PlainValidator(read)


def _span(text: str) -> None:
    if not seconds(text):
        raise ValueError("must be longer than 0")


Text = Annotated[str, Field(min_length=1)]
"""A string that is not empty."""
Many = Annotated[tuple[_Item, ...], Strict(False)]  # TOML has lists; what is in them stays strict
"""A list."""
Some = Annotated[frozenset[_Item], Strict(False)]
"""A list in which neither order nor repetition matters."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[Finite, Field(gt=0)]
Time = Annotated[str, read_by(seconds)]
"""A string that `gatebench.words.text.seconds` reads."""
Span = Annotated[Time, read_by(_span)]
"""A time longer than 0."""


def one_line(text: str) -> str:
    """The text as a basic string of TOML, whose escapes are a part of JSON's (toml.io, "String")."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _told(faults: Iterable[Fault]) -> ValidationError:
    details = [(place, PydanticCustomError("told", "{text}", {"text": text})) for place, text in faults]
    return ValidationError.from_exception_data(
        "told", [InitErrorDetails(type=error, loc=place, input=None) for place, error in details]
    )


def _without(data: Mapping[str, Any], places: Iterable[Place]) -> dict[str, Any]:
    """The data without what is at the places; of a list with a fault, nothing is left."""
    left = {**data}
    inside: dict[str, list[Place]] = {}
    for first, *rest in places:
        key = str(first)
        if rest == [_KEY]:  # what is under it was checked all the same
            continue
        if not rest or rest[1:] == [_FORM] or not isinstance(data.get(key), dict):
            left.pop(key, None)
        else:
            inside.setdefault(key, []).append(tuple(rest))
    return left | {key: _without(data[key], within) for key, within in inside.items() if key in left}


def _dotted(place: Place) -> str:
    """`variants.default.stop`; an item goes by its list, and a key that cannot be, by itself."""
    names = [part for part in place if isinstance(part, str)]
    return ".".join(names[:-1] if len(names) > 1 and names[-1] in {_KEY, _FORM} else names)


def _no(kind: str, value: object) -> str:
    return f"must be {kind}, not {value!r}"


def _kind(annotation: Any) -> str:
    """What a field must be, in words."""
    if get_origin(annotation) is Literal:
        return _KINDS[str]
    return _KINDS.get(get_origin(annotation) or annotation, _KINDS[dict])
