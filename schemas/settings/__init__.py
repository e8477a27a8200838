"""The one place for configuration: a typed object from a TOML file, the environment and flags.

Later sources win: defaults, then the TOML file, then `INNERLOOP_…` environment variables
(sections joined by two underscores, `INNERLOOP_KAFKA__BOOTSTRAP_SERVERS`), then flags. Properties
of a client library, such as librdkafka's, are merged one by one, and in the environment an
underscore stands for their dots: `INNERLOOP_KAFKA__PROPERTIES__SASL_PASSWORD`.
"""

from __future__ import annotations

from schemas.settings.insights import InsightsSettings
from schemas.settings.kafka import MANAGED_PROPERTIES, KafkaSettings, WireSettings
from schemas.settings.learning import TrainingSettings, TuningSettings
from schemas.settings.logging import LoggingSettings
from schemas.settings.policy import PolicySettings, Restriction, ScoreRule
from schemas.settings.privacy import PrivacySettings
from schemas.settings.root import Settings, load_settings
from schemas.settings.section import Properties
from schemas.settings.serving import MetricsSettings, WorkerSettings
from schemas.settings.storefront import CollectorSettings
from schemas.settings.subscriber import GatewaySettings, SinkSettings, SubscriberSettings
from schemas.settings.tracing import TracingSettings

__all__ = [
    "MANAGED_PROPERTIES",
    "CollectorSettings",
    "GatewaySettings",
    "InsightsSettings",
    "KafkaSettings",
    "LoggingSettings",
    "MetricsSettings",
    "PolicySettings",
    "PrivacySettings",
    "Properties",
    "Restriction",
    "ScoreRule",
    "Settings",
    "SinkSettings",
    "SubscriberSettings",
    "TracingSettings",
    "TrainingSettings",
    "TuningSettings",
    "WireSettings",
    "WorkerSettings",
    "load_settings",
]
