"""The reference of all settings, in Markdown."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from schemas.settings import MANAGED_PROPERTIES, Settings
from schemas.settings.errors import table_of_list
from schemas.settings.sources import CONFIG_FILE_VARIABLE, DEFAULT_CONFIG_FILE, variable_name

_PREAMBLE = f"""\
# Configuration

<!-- Generated from schemas/settings/ by `innerloop settings --out docs/configuration.md`. -->

Settings come from four places; later ones win, setting by setting:

1. the defaults below,
2. a TOML file: the one given by `--config`, else by `{CONFIG_FILE_VARIABLE}`, else
   `{DEFAULT_CONFIG_FILE}` in the working directory if there is one,
3. environment variables,
4. flags of the command (`innerloop COMMAND --help`).

```toml
[kafka]
bootstrap_servers = "kafka-1:9093,kafka-2:9093"

[kafka.properties]  # any librdkafka property, for every client
security.protocol = "SASL_SSL"
sasl.mechanism = "SCRAM-SHA-512"
sasl.username = "innerloop"

[worker]
bundle = "/models/current"
```

```sh
export INNERLOOP_KAFKA__PROPERTIES__SASL_PASSWORD=…   # sections and names joined by two underscores
export INNERLOOP_WORKER__DEVICE=cuda
innerloop topics create -X client.id=laptop           # a property by flag
```

Tables of properties are merged one by one. In the environment an underscore stands for a
property's dot; a whole table can also be given as a JSON object
(`INNERLOOP_KAFKA__PROPERTIES='{{"sasl.password": "…"}}'`). Keep secrets out of flags: process lists
show them. A setting, section or variable that does not exist is an error, as is a wrong value; the
message names the setting, where it was given and what would be right, and shows no secret.
"""

_MANAGED = """\
These properties cannot be given in the tables of properties, because innerloop decides them:
"""


def configuration_document() -> str:
    """Return the reference: a table for each section, from the settings' own models."""
    sections = [_section(name, field) for name, field in Settings.model_fields.items()]
    managed = [f"- `{name}`: {instead}" for name, instead in MANAGED_PROPERTIES.items()]
    parts = [_PREAMBLE, *sections, "## Properties that are not yours to set\n\n" + _MANAGED]
    return "\n".join(parts) + "\n" + "\n".join(managed) + "\n"


def _section(name: str, section: FieldInfo) -> str:
    model = section.annotation
    assert isinstance(model, type) and issubclass(model, BaseModel)
    rows = [_row(name, setting, field) for setting, field in model.model_fields.items()]
    return "\n".join(
        [
            f"## [{name}]",
            "",
            (model.__doc__ or "").strip(),
            "",
            "| Setting | Environment variable | Values | Default | Meaning |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            *(line for item in model.model_fields.items() for line in _list_of_tables(name, *item)),
        ]
    )


def _list_of_tables(section: str, setting: str, field: FieldInfo) -> list[str]:
    """Return what the tables of a list of tables hold; nothing for any other setting."""
    table = table_of_list(field.annotation)
    if table is None:
        return []
    rows = [
        f"| `{name}` | {_values(inner)} | {_default(inner)} | {_meaning(inner)} |"
        for name, inner in table.model_fields.items()
    ]
    return [
        f"### [[{section}.{setting}]]",
        "",
        (table.__doc__ or "").strip(),
        "",
        "| Setting | Values | Default | Meaning |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
    ]


def _row(section: str, setting: str, field: FieldInfo) -> str:
    cells = [
        f"`{section}.{setting}`",
        f"`{variable_name((section, setting))}`",
        _values(field),
        _default(field),
        _meaning(field),
    ]
    return f"| {' | '.join(cells)} |"


def _meaning(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")


def _values(field: FieldInfo) -> str:
    kind = _without_none(field.annotation)
    if typing.get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return "list of tables" if table_of_list(kind) else "list of texts"
    names = {
        int: "integer",
        float: "number",
        str: "text",
        bool: "`true`, `false`",
        Path: "path",
        SecretStr: "secret text",  # pragma: allowlist secret
    }
    name = (
        names.get(kind, "table of properties") if isinstance(kind, type) else "table of properties"
    )
    return name + _bounds(field)


def _without_none(annotation: object) -> object:
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation
    (kind,) = [part for part in typing.get_args(annotation) if part is not type(None)]
    return kind


def _bounds(field: FieldInfo) -> str:
    words = []
    for limit in field.metadata:
        match limit:
            case Ge(ge=value):
                words.append(f"≥ {value}")
            case Gt(gt=value):
                words.append(f"> {value}")
            case Le(le=value):
                words.append(f"≤ {value}")
            case Lt(lt=value):
                words.append(f"< {value}")
            case MinLen(min_length=value) if value > 1:
                words.append(f"{value} characters or more")
    return "".join(f", {word}" for word in words)


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if field.is_required():
        return "required"
    if default is None or default in ({}, ()):
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f'`"{default}"`' if isinstance(default, str) else f"`{default}`"
