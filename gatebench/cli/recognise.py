"""Imports an application in its own environment, as a script there: is it WSGI or ASGI, or why is it neither?

Arguments: the module, the name in it, `factory` or `object`, and the folder that is searched first. The last
line of its output is JSON: `interface`, or `problem` with what is wrong and what to do. It imports nothing of
the lab, whose packages that environment does not have.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import sys
import traceback
from typing import Any

LAST_LINES = 6


class _ProblemError(Exception):
    """Why it is no application, for a person."""


def recognise(module: str, name: str, *, factory: bool) -> dict[str, str]:
    """What the application is, or the problem with it."""
    shown = f"{module}:{name}{'()' if factory else ''}"
    try:
        found = _imported(module)
        found = _named(found, module, name)
        return {"interface": _kind(shown, _made(found) if factory else found, factory=factory)}
    except _ProblemError as error:
        return {"problem": f"{shown}: {error}"}


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            where = "\n  ".join(sys.path[:2])
            raise _ProblemError(
                f"there is no module {error.name!r}; it was searched in\n  {where}"
            ) from error
        step = f"it imports {error.name!r}, which is not there; add the package to its requirements"
        raise _ProblemError(f"{step}\n{_last_lines(error)}") from error
    except BaseException as error:  # whatever its code raises is told, SystemExit too
        raise _ProblemError(f"{_step(error)}\n{_last_lines(error)}") from error


def _named(found: Any, module: str, name: str) -> Any:
    for part in name.split("."):
        if not hasattr(found, part):
            names = [each for each, value in vars(found).items() if callable(value) and each[0] != "_"]
            close = difflib.get_close_matches(part, names, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise _ProblemError(
                f"{module} has no {name!r}{hint}; it has {', '.join(names) or 'nothing to call'}"
            )
        found = getattr(found, part)
    return found


def _made(factory: Any) -> Any:
    if not callable(factory):
        raise _ProblemError(f"is {type(factory).__name__}, and no factory; leave out the ()")
    if needed := _needed(factory):
        raise _ProblemError(f"the factory needs arguments ({', '.join(needed)}); name one that needs none")
    try:
        return factory()
    except BaseException as error:  # as above
        raise _ProblemError(f"{_step(error)}\n{_last_lines(error)}") from error


def _kind(shown: str, found: Any, *, factory: bool) -> str:
    """WSGI takes environ and start_response (PEP 3333); ASGI is awaited with scope, receive and send."""
    if inspect.isclass(found):
        raise _ProblemError(f"is a class; write {shown}() where calling it makes the application")
    if not callable(found):
        raise _ProblemError(f"is {type(found).__name__}, and no application")
    call = found if inspect.isroutine(found) else type(found).__call__
    needed = [each for each in _needed(call) if each != "self"]
    if len(needed) == 3 or (inspect.iscoroutinefunction(call) and not needed):
        return "asgi"
    if len(needed) == 2:
        return "wsgi"
    step = f"; if it is a factory, write {shown}()" if not needed and not factory else ""
    takes = ", ".join(needed) or "nothing"
    raise _ProblemError(
        f"takes {takes}: WSGI takes environ and start_response, ASGI scope, receive and send{step}"
    )


def _needed(call: Any) -> list[str]:
    """The positional parameters without a default; none where Python cannot tell."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each.name for each in parameters if each.kind in positional and each.default is each.empty]


def _step(error: BaseException) -> str:
    text = str(error)
    if "DJANGO_SETTINGS_MODULE" in text:
        return "Django does not know its settings; set them: --app-env=DJANGO_SETTINGS_MODULE=mysite.settings"
    if isinstance(error, KeyError) and error.args and str(error.args[0]).isupper():
        return f"it wants the variable {error.args[0]}; set it: --app-env={error.args[0]}=…"
    return "importing it fails; its last lines:"


def _last_lines(error: BaseException) -> str:
    told = "".join(traceback.format_exception(error)).rstrip().splitlines()
    return "\n".join(f"  {line}" for line in told[-LAST_LINES:])


if __name__ == "__main__":
    sys.path[0] = sys.argv[4]
    said = json.dumps(recognise(sys.argv[1], sys.argv[2], factory=sys.argv[3] == "factory"))
    print(f"\n{said}", flush=True)
