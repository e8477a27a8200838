"""Where settings come from: the TOML file and the environment, checked before they are merged."""

from __future__ import annotations

import json
import os
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from schemas.errors import SettingsError

ENVIRONMENT_PREFIX = "INNERLOOP_"
CONFIG_FILE_VARIABLE = "INNERLOOP_CONFIG"
DEFAULT_CONFIG_FILE = Path("innerloop.toml")


# The names of librdkafka that have an underscore of their own.
_UNDERSCORED_PROPERTIES = {
    "log_level",
    "ssl_ca",
    "ssl_certificate",
    "ssl_key",
    "ssl_engine_callback_data",
}


def flat_properties(properties: object) -> object:
    """Return a client library's properties under their dotted names.

    A name without a dot has its underscores made dots: an environment variable's name can hold no
    dot. A table inside is what TOML makes of a dotted name without quotes.
    """
    if not isinstance(properties, dict):
        return properties
    flat: dict[str, object] = {}
    for name, value in properties.items():
        dotted = name
        if "." not in name and name not in _UNDERSCORED_PROPERTIES:
            dotted = name.replace("_", ".")
        if isinstance(value, dict):
            nested = flat_properties({f"{name}.{part}": inner for part, inner in value.items()})
            assert isinstance(nested, dict)
            flat |= nested
        else:
            flat[dotted] = value
    return flat


def flat_content(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of one source with every table of properties brought to one form."""
    return {
        section: {
            name: flat_properties(value) if name.endswith("properties") else value
            for name, value in values.items()
        }
        if isinstance(values, dict)
        else values
        for section, values in content.items()
    }


def find_config_file(named: Path | None) -> Path | None:
    """Return the file named, else by `INNERLOOP_CONFIG`, else `innerloop.toml` if there is one.

    Raises:
        SettingsError: the file that was asked for does not exist.
    """
    by_variable = os.environ.get(CONFIG_FILE_VARIABLE)
    if named is None and not by_variable:
        return DEFAULT_CONFIG_FILE if DEFAULT_CONFIG_FILE.is_file() else None
    file = named or Path(str(by_variable))
    if not file.is_file():
        by = "" if named else f", named by {CONFIG_FILE_VARIABLE},"
        raise SettingsError(f"the configuration file {file}{by} does not exist")
    return file


def read_toml(file: Path) -> dict[str, Any]:
    """Return a TOML file's content.

    Raises:
        SettingsError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is not UTF-8 text, at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is not valid TOML: {error}") from None


def variable_path(variable: str) -> tuple[str, ...] | None:
    """Return the setting, (section, name, …), that a variable gives; None if it gives none."""
    upper = variable.upper()
    if not upper.startswith(ENVIRONMENT_PREFIX) or upper == CONFIG_FILE_VARIABLE:
        return None
    return tuple(upper.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))


def variable_name(path: tuple[str, ...]) -> str:
    """Return the variable that gives a setting."""
    return ENVIRONMENT_PREFIX + "__".join(path).upper()


def check_environment(environment: Mapping[str, str], model: type[BaseModel]) -> None:
    """Refuse variables that would be ignored or that cannot be read as what they are for.

    Raises:
        SettingsError: a variable names no section, or has to be a JSON object and is not.
    """
    for variable, value in environment.items():
        path = variable_path(variable)
        if path is None:
            continue
        if path[0] not in model.model_fields:
            known = ", ".join(f"{variable_name((section,))}__…" for section in model.model_fields)
            raise SettingsError(
                f"environment variable {variable} names no section of the settings; use {known}, "
                f"or {CONFIG_FILE_VARIABLE} for the configuration file"
            )
        if _wants_object(model, path) and not _is_json(value, dict):
            raise SettingsError(
                f"environment variable {variable} is not a JSON object such as "
                f'{{"{_EXAMPLES.get(path[-1], "name")}": …}}'
            )
        if _wants_list(model, path) and not _is_json(value, list):
            raise SettingsError(
                f"environment variable {variable} is not a JSON list such as "
                f'[{{"{_EXAMPLES.get(path[-1], "name")}": …}}]'
            )


_EXAMPLES = {
    "properties": "security.protocol",
    "consumer_properties": "fetch.min.bytes",
    "producer_properties": "linger.ms",
    "registry_properties": "basic.auth.user.info",
    "kafka": "bootstrap_servers",
    "restrictions": "surface",
    "rules": "brand",
}


def _wants_object(model: type[BaseModel], path: tuple[str, ...]) -> bool:
    section = model.model_fields[path[0]].annotation
    if len(path) == 1:
        return True
    if len(path) > 2 or not (isinstance(section, type) and issubclass(section, BaseModel)):
        return False
    field = section.model_fields.get(path[1])
    return field is not None and field.default_factory is dict


def _wants_list(model: type[BaseModel], path: tuple[str, ...]) -> bool:
    section = model.model_fields[path[0]].annotation
    if len(path) != 2 or not (isinstance(section, type) and issubclass(section, BaseModel)):
        return False
    field = section.model_fields.get(path[1])
    return field is not None and typing.get_origin(field.annotation) is tuple


def _is_json(value: str, kind: type) -> bool:
    try:
        return isinstance(json.loads(value), kind)
    except ValueError:
        return False
