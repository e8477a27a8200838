"""Flags that every command talking to Kafka shares, and the settings they add up to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.errors import SettingsError
from schemas.settings import Settings, load_settings

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file of settings (default: $INNERLOOP_CONFIG, else innerloop.toml if present).",
        show_default=False,
    ),
]
BootstrapServersOption = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        metavar="HOST:PORT[,…]",
        help="Kafka brokers (setting kafka.bootstrap_servers).",
        show_default=False,
    ),
]
PropertyOption = Annotated[
    list[str] | None,
    typer.Option(
        "-X",
        "--property",
        metavar="KEY=VALUE",
        help="A librdkafka property for every client, such as -X security.protocol=SASL_SSL; "
        "may be given several times (setting kafka.properties). Keep passwords in the "
        "environment or the settings file.",
        show_default=False,
    ),
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")]

_PROPERTY = re.compile(r"(?P<key>[a-z][a-z0-9._]*)=(?P<value>.*)", re.DOTALL)


def parse_properties(properties: Sequence[str]) -> dict[str, str]:
    """Split `key=value` flags; the last of a repeated key wins, a value may hold `=` itself.

    Raises:
        SettingsError: a flag is not of that form. Its value is not shown: it may be a password.
    """
    parsed: dict[str, str] = {}
    for position, text in enumerate(properties, start=1):
        match = _PROPERTY.fullmatch(text)
        if match is None:
            seen = re.match(r"[a-z]+(\.[a-z]+)+", text)
            named = f" ({seen.group()} …)" if seen else ""
            raise SettingsError(
                f"-X/--property number {position}{named} is not KEY=VALUE with a librdkafka "
                "property's name in lower case; right would be: -X security.protocol=SASL_SSL"
            )
        parsed[match["key"]] = match["value"]
    return parsed


def settings_from(
    config: Path | None = None,
    bootstrap_servers: str | None = None,
    properties: Sequence[str] | None = None,
    **sections: Mapping[str, Any],
) -> Settings:
    """Read the settings with these flags on top of environment and file.

    Args:
        config: the settings file; None looks for it as `load_settings` does.
        bootstrap_servers: as flagged; None leaves the setting alone.
        properties: `key=value` flags, merged over `kafka.properties`.
        sections: further flags by section, such as `worker={"bundle": bundle}`; None among the
            values means "not given".

    Raises:
        SettingsError: a flag, variable or file is wrong; the message names the setting.
    """
    kafka: dict[str, Any] = {
        "bootstrap_servers": bootstrap_servers,
        "properties": parse_properties(properties) if properties else None,
        **sections.get("kafka", {}),
    }
    return load_settings(config, {**sections, "kafka": kafka})
