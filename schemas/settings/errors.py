"""Wrong settings in words: which, where it was given, what would be right; never a secret."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from schemas.settings.sources import DEFAULT_CONFIG_FILE, variable_path

_PLAIN = {
    "Value should": "should",
    "Field required": "is missing",
    "items after validation": "characters",
}

Flags = Mapping[str, Mapping[str, Any]]


def explain(
    error: ValidationError,
    model: type[BaseModel],
    flags: Flags,
    environment: Mapping[str, str],
    file: Path | None,
) -> str:
    """Return one line for each wrong setting."""
    lines: dict[tuple[str, ...], str] = {}
    for item in error.errors(include_url=False):
        path = _setting(item)
        if path in lines:  # each member of a union complains
            continue
        origin = _origin(path, flags, environment, file)
        lines[path] = f"{_name(path)}{_shown(model, path, item)} ({origin}) " + (
            _unknown(model, path)
            if item["type"] == "extra_forbidden"
            else _wrong(model, path, item)
        )
    if len(lines) == 1:
        return f"wrong setting: {next(iter(lines.values()))}"
    return "\n  ".join(["wrong settings:", *lines.values()])


def _setting(item: ErrorDetails) -> tuple[str, ...]:
    """Return (section, name), with what follows in a property's or a list's case.

    For a property that is its name; in a list of tables it is the place of the table, from 0, and
    the name of what is in it.
    """
    parts = item["loc"]
    in_list = len(parts) > 2 and isinstance(parts[2], int)
    return tuple(str(part) for part in parts[: 4 if in_list else 3])


def _in_list(path: tuple[str, ...]) -> bool:
    return len(path) > 2 and path[2].isdecimal()


def _name(path: tuple[str, ...]) -> str:
    if not _in_list(path):
        return ".".join(path)
    return ".".join([*path[:1], f"{path[1]}[{path[2]}]", *path[3:]])


def _field(model: type[BaseModel], path: tuple[str, ...]) -> Any:  # noqa: ANN401  # FieldInfo | None
    section = model.model_fields.get(path[0])
    if section is None or len(path) == 1:
        return section
    fields = section.annotation
    assert isinstance(fields, type) and issubclass(fields, BaseModel)
    field = fields.model_fields.get(path[1])
    if field is None or not _in_list(path) or len(path) < 4:
        return field
    table = table_of_list(field.annotation)
    return None if table is None else table.model_fields.get(path[3])


def table_of_list(annotation: object) -> type[BaseModel] | None:
    """Return the model of the tables in a list of tables; None for any other setting."""
    arguments = typing.get_args(annotation) if typing.get_origin(annotation) is tuple else ()
    table = arguments[0] if arguments else None
    return table if isinstance(table, type) and issubclass(table, BaseModel) else None


def _shown(model: type[BaseModel], path: tuple[str, ...], item: ErrorDetails) -> str:
    # Fields that may hold a credential are those kept out of `repr`; a table may hold anything, and
    # so may a setting that nobody knows.
    field = _field(model, path) if len(path) > 1 else None
    value = item["input"]
    public = field is not None and field.repr and isinstance(value, str | int | float)
    return f" = {value!r}" if public else ""


def _wrong(model: type[BaseModel], path: tuple[str, ...], item: ErrorDetails) -> str:
    if len(path) == 1:
        return f"should be a table of settings, [{path[0]}]"
    if len(path) > 2 and not _in_list(path):
        message = "should be text, a number, true or false"
    else:
        message = item["msg"].removeprefix("Value error, ").replace("Input should", "should")
        for word, plain in _PLAIN.items():
            message = message.replace(word, plain)
        if item["type"] == "model_type":
            message = "should be a table"
    field = _field(model, path)
    meaning = f": {field.description}" if field is not None and field.description else ""
    return message + meaning


def _unknown(model: type[BaseModel], path: tuple[str, ...]) -> str:
    if len(path) == 1:
        return _no_such("section", path[0], list(model.model_fields))
    section = model.model_fields[path[0]].annotation
    assert isinstance(section, type) and issubclass(section, BaseModel)
    if _in_list(path):
        table = table_of_list(section.model_fields[path[1]].annotation)
        assert table is not None
        return _no_such(f"setting of [[{path[0]}.{path[1]}]]", path[3], list(table.model_fields))
    return _no_such(f"setting of [{path[0]}]", path[1], list(section.model_fields))


def _no_such(kind: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    guess = f" (did you mean {close[0]}?)" if close else ""
    return f"is no {kind}{guess}; there are: {', '.join(known)}"


def _origin(
    path: tuple[str, ...], flags: Flags, environment: Mapping[str, str], file: Path | None
) -> str:
    given = flags.get(path[0])
    if given is not None and (len(path) == 1 or given.get(path[1]) is not None):
        return "a flag"
    for variable in environment:
        named = variable_path(variable)
        if named is not None and named[:2] == path[: len(named[:2])]:
            return f"environment variable {variable}"
    return str(file or DEFAULT_CONFIG_FILE)
