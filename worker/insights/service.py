"""`innerloop insights` as a process."""

from __future__ import annotations

import logging

import faust

from schemas.settings import Settings
from worker.health import Health
from worker.insights.app import build_app
from worker.insights.faust_parts import InsightsApp
from worker.insights.metrics import InsightsMetrics
from worker.insights.oauth_tokens import OidcTokens
from worker.insights.topics import insights_topics
from worker.insights.watchdog import Watchdog
from worker.metrics_endpoint import serve_metrics

_LOG = logging.getLogger(__name__)


def run_insights(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, or until it cannot go on.

    Raises:
        BrokerError: the brokers cannot be reached, or the topics do not fit together.
        SettingsError: a setting or a Kafka property is wrong.
    """
    topics = insights_topics(settings)
    metrics = InsightsMetrics()
    watchdog = Watchdog(settings, topics)
    health = Health(settings.insights.stall_seconds, first="its tables")

    def progress(records: int) -> None:
        watchdog.progress(records)
        health.came_round(None if app.tables.actives_ready else "its tables")

    app = build_app(settings, topics, metrics, progress)
    _check_credentials(app)
    endpoint = settings.metrics.model_copy(update={"port": settings.insights.metrics_port})
    with serve_metrics(metrics, endpoint, health) as port, watchdog.watching(app):
        if port is not None:
            _LOG.info("metrics at http://%s:%d/metrics", endpoint.host, port)
        worker = faust.Worker(app, override_logging=False, quiet=True, redirect_stdouts=False)
        worker.spinner = None  # nothing on the terminal but the log
        worker.execute_from_commandline()


def _check_credentials(app: InsightsApp) -> None:
    """Get the first token, if tokens are needed: Faust would try for ever."""
    credentials = app.conf.broker_credentials
    if isinstance(credentials, faust.OAuthCredentials):
        tokens = credentials.oauth_cb
        assert isinstance(tokens, OidcTokens)
        tokens.current()
