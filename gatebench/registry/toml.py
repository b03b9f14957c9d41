"""Reads TOML files into models, strictly: all faults are told at once, each a line with file and key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainValidator,
    Strict,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from gatebench.words.text import listed, near, seconds

_Item = TypeVar("_Item")
_Table = TypeVar("_Table", bound="Table")
_Key = tuple[str | int, ...]

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


def told(*faults: tuple[_Key, str]) -> ValidationError:
    """The error of a validator with several faults, or with some inside its value: place and text of each."""
    details = [(place, PydanticCustomError("told", "{text}", {"text": text})) for place, text in faults]
    return ValidationError.from_exception_data(
        "told", [InitErrorDetails(type=error, loc=place, input=None) for place, error in details]
    )


def tell(texts: Iterable[str]) -> None:
    """Raises the error of a validator with each of the texts, if there is one."""
    if faults := [((), text) for text in texts]:
        raise told(*faults)


def not_allowed(value: str, allowed: Iterable[str]) -> str:
    """What is told of a value that is none of those allowed."""
    names = tuple(allowed)
    return f'"{value}" is not allowed{near(value, names)}; allowed: {listed(names)}'


def one_of(allowed: Iterable[str]) -> AfterValidator:
    """Takes the strings that are `allowed`, where they are no `Literal`."""

    def check(value: str) -> str:
        if value not in allowed:
            raise ValueError(not_allowed(value, allowed))
        return value

    return AfterValidator(check)


def only(schema: int) -> AfterValidator:
    """Takes the one version of a file's schema that is read."""

    def check(number: int) -> int:
        if number != schema:
            raise ValueError(f"must be {schema}, the version that this Gatebench reads")
        return number

    return AfterValidator(check)


def form_of(key: str, forms: Mapping[str, type[Table]]) -> PlainValidator:
    """Reads a table that has several forms: the one that the string under `key` names."""

    def read(data: object, info: ValidationInfo) -> Table:
        if not isinstance(data, dict):
            raise ValueError(_no(_KINDS[dict], data))  # noqa: TRY004 - only a ValueError is told
        if key not in data:
            raise told(((key,), f"is missing; it must be {_KINDS[str]}"))
        name = data[key]
        if not isinstance(name, str):
            raise told(((key,), _no(_KINDS[str], name)))
        if name not in forms:
            raise told(((key,), not_allowed(name, forms)))
        return forms[name].model_validate(data, context=info.context)

    return PlainValidator(read)


def _time(text: str) -> str:
    seconds(text)
    return text


def _longer(text: str) -> str:
    if not seconds(text):
        message = "must be longer than 0"
        raise ValueError(message)
    return text


Text = Annotated[str, Field(min_length=1)]
"""A string that is not empty."""
Many = Annotated[tuple[_Item, ...], Strict(False)]  # TOML has lists; what is in them stays strict
"""A list."""
Some = Annotated[frozenset[_Item], Strict(False)]
"""A list in which neither order nor repetition matters."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Time = Annotated[str, AfterValidator(_time)]
"""A string that `gatebench.words.text.seconds` reads."""
Span = Annotated[Time, AfterValidator(_longer)]
"""A time longer than 0."""


class Table(BaseModel):
    """One table of a file: its fields are the keys that it may have; nothing is converted.

    A validator raises a ValueError with what is wrong, or `told` with several faults. Its `ValidationInfo`
    has what else it needs: in `context` what `check` was given, and in `data` the fields above its own that
    are right.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @model_validator(mode="wrap")
    @classmethod
    def _tell(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Words the faults here, where the keys are known."""
        try:
            return handler(data)
        except ValidationError as error:
            faults = ((each["loc"], cls._worded(each)) for each in error.errors(include_url=False))
            raise told(*faults) from None

    @classmethod
    def _worded(cls, error: ErrorDetails) -> str:
        """The text of an error of pydantic's, or the one that a validator told."""
        place, value, about = error["loc"], error["input"], error.get("ctx", {})
        fields = {field.alias or name: field for name, field in cls.model_fields.items()}
        every = "every item " if place and isinstance(place[-1], int) else ""
        match error["type"]:
            case "told":
                text = about["text"]
            case "value_error":
                text = about["error"]
            case "missing":
                text = f"is missing; it must be {_kind(fields[str(place[-1])])}"
            case "extra_forbidden":
                text = f"unknown key{near(str(place[-1]), sorted(fields))}; allowed: {listed(sorted(fields))}"
            case "literal_error" if isinstance(value, str):
                text = not_allowed(value, _literals(fields[str(place[0])].annotation))
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
    model: type[_Table], data: Mapping[str, object], path: Path, problems: list[str], context: object = None
) -> _Table | None:
    """The table that the data of a file are, or None with every problem noted.

    Args:
        model: the file's keys.
        data: what `load` found in it.
        path: of the file, which every problem names.
        problems: gets one line for each problem.
        context: what validators find in `ValidationInfo.context`.
    """
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        problems += (f"{path}: {_dotted(each['loc'])}{each['msg']}" for each in error.errors())
        return None


def read(model: type[_Table], path: Path, problems: list[str], context: object = None) -> _Table | None:
    """The table that a file is, by `load` and `check`."""
    data = load(path, problems)
    return None if data is None else check(model, data, path, problems, context)


def _dotted(place: _Key) -> str:
    """`variants.default.stop: `; items go by their list, and keys that cannot be by themselves."""
    names = [part for part in place if isinstance(part, str)]
    if len(names) > 1 and names[-1] == "[key]":  # how pydantic tells a table's key from its value
        names.pop()
    return f"{'.'.join(names)}: " if names else ""


def _no(kind: str, value: object) -> str:
    return f"must be {kind}, not {value!r}"


def _kind(field: FieldInfo) -> str:
    """What a field must be, in words."""
    return next((_KINDS[each] for each in _origins(field.annotation) if each in _KINDS), _KINDS[dict])


def _origins(annotation: Any) -> Iterator[type]:
    """The types that an annotation is of, without what they hold."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _origins(get_args(annotation)[0])
    elif origin in {Union, UnionType}:
        for each in get_args(annotation):
            yield from _origins(each)
    elif origin is Literal:
        yield str
    else:
        yield origin or annotation


def _literals(annotation: Any) -> tuple[str, ...]:
    """The strings that an annotation allows, wherever in it they are."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(found for each in get_args(annotation) for found in _literals(each))
