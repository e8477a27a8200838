"""Settings as a file, for a process that is to run with them."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import SecretStr

from schemas.settings import Settings


def toml_text(settings: Settings) -> str:
    """Return settings as TOML, those that are None left out.

    What JSON makes of a string, a number or a list is TOML, too.
    """
    lines = []
    for section, values in settings.model_dump().items():
        tables = {name: value for name, value in values.items() if isinstance(value, dict)}
        lines.append(f"[{section}]")
        lines += [
            f"{name} = {json.dumps(_plain(value))}"
            for name, value in values.items()
            if value is not None and name not in tables
        ]
        for name, table in tables.items():
            lines.append(f"[{section}.{name}]")
            lines += [
                f"{json.dumps(key)} = {json.dumps(_plain(value))}" for key, value in table.items()
            ]
    return "\n".join(lines) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, Path) else value
