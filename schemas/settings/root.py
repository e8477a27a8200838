"""All sections as one object, and reading it from file, environment and flags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from schemas.errors import SettingsError
from schemas.settings.errors import explain
from schemas.settings.insights import InsightsSettings
from schemas.settings.kafka import KafkaSettings, WireSettings
from schemas.settings.learning import TrainingSettings, TuningSettings
from schemas.settings.logging import LoggingSettings
from schemas.settings.policy import PolicySettings
from schemas.settings.privacy import PrivacySettings
from schemas.settings.serving import MetricsSettings, WorkerSettings
from schemas.settings.sources import (
    ENVIRONMENT_PREFIX,
    check_environment,
    find_config_file,
    flat_content,
    read_toml,
)
from schemas.settings.storefront import CollectorSettings
from schemas.settings.subscriber import GatewaySettings, SinkSettings, SubscriberSettings
from schemas.settings.tracing import TracingSettings


class Settings(BaseSettings):
    """Every setting of innerloop, by section."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    file_content: ClassVar[dict[str, Any]] = {}

    kafka: KafkaSettings = KafkaSettings()
    wire: WireSettings = WireSettings()
    worker: WorkerSettings = WorkerSettings()
    policy: PolicySettings = PolicySettings()
    training: TrainingSettings = TrainingSettings()
    tuning: TuningSettings = TuningSettings()
    insights: InsightsSettings = InsightsSettings()
    metrics: MetricsSettings = MetricsSettings()
    logging: LoggingSettings = LoggingSettings()
    tracing: TracingSettings = TracingSettings()
    privacy: PrivacySettings = PrivacySettings()
    collector: CollectorSettings = CollectorSettings()
    subscriber: SubscriberSettings = SubscriberSettings()
    gateway: GatewaySettings = GatewaySettings()
    sink: SinkSettings = SinkSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources, the strongest first: flags, environment, file."""
        # Each is brought to one form first: merged, two spellings of a property would be two.
        environment = InitSettingsSource(settings_cls, flat_content(env_settings()))
        file = InitSettingsSource(settings_cls, flat_content(cls.file_content))
        return (init_settings, environment, file)


def load_settings(
    config_file: Path | None = None, flags: Mapping[str, Mapping[str, Any]] | None = None
) -> Settings:
    """Read the settings from file, environment and flags.

    Args:
        config_file: TOML file. None takes `INNERLOOP_CONFIG`, else `innerloop.toml` if it exists.
        flags: values given on the command line, by section; None among them means "not given".

    Raises:
        SettingsError: the file is missing or is no TOML, or a setting is unknown or wrong; the
            message names it, where it was given and what would be right.
    """
    file = find_config_file(config_file)
    given = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in (flags or {}).items()
    }
    check_environment(os.environ, Settings)

    class LoadedSettings(Settings):
        file_content = read_toml(file) if file else {}

    try:
        loaded = LoadedSettings(**flat_content(given))
    except ValidationError as error:
        raise SettingsError(explain(error, Settings, given, os.environ, file)) from None
    # Of the class that everybody knows, so that equal settings are equal.
    return Settings.model_construct(
        **{name: getattr(loaded, name) for name in Settings.model_fields}
    )
