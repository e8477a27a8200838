"""What a run of the demo is to do, where its files are, and the commands that do it."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from schemas.settings import TrainingSettings
from worker.broker.embedded import CONSUMER_PROPERTIES
from worker.broker.readiness import HOST

CUT = 0.75
"""Users first seen after this quantile of first-event times are kept from training, and replayed.

What `innerloop train` and `innerloop replay` take by themselves."""


@dataclass(frozen=True)
class DemoPlan:
    """Settings of one run of the demo."""

    folder: Path
    """For data, bundle and logs; kept from one run to the next."""
    data_events: int
    """Events to make of the receipts."""
    events: int | None
    """Most events to replay, 0 for none; None replays every event of the new users."""
    rate: float
    """Events per second."""
    epochs: int
    """Most passes of training."""
    seed: int
    fresh: bool
    """Train again even if a bundle of the same data and settings is there."""
    write_key: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    """Of the collector, for this run alone."""
    token_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """Of the gateway, for this run alone."""

    @property
    def data(self) -> Path:
        """Folder of the dataset."""
        return self.folder / "data"

    @property
    def events_file(self) -> Path:
        """What the command `dataset` writes."""
        return self.data / "events.csv.gz"

    @property
    def items_file(self) -> Path:
        """What the command `dataset` writes."""
        return self.data / "items.csv.gz"

    @property
    def bundle(self) -> Path:
        """Folder of the model bundle."""
        return self.folder / "bundle"

    @property
    def config(self) -> Path:
        """Settings file of every command of the demo, so that none reads the user's own."""
        return self.folder / "demo.toml"

    @property
    def logs(self) -> Path:
        """Folder of what the processes say."""
        return self.folder / "logs"

    @property
    def training(self) -> TrainingSettings:
        """The settings that `train_command` trains with."""
        return TrainingSettings(epochs=self.epochs)

    def config_text(self) -> str:
        """Return the content of `config`."""
        door: dict[str, object] = {"port": 0, "metrics_port": 0}
        sections: dict[str, dict[str, object]] = {
            "kafka.consumer_properties": dict(CONSUMER_PROPERTIES),
            "policy": {"reason_types": True},
            "collector": door,
            "collector.write_keys": {"storefront": self.write_key},
            "gateway": door,
            "gateway.token_secrets": {"storefront": self.token_secret},
        }
        return (
            "# Written by `innerloop demo` for the commands that it runs: what consumers of the\n"
            "# embedded broker need, so as not to wait long for partitions and for records; and\n"
            "# what collector, gateway and the storefront's page need for each other.\n"
        ) + "\n".join(_toml(name, values) for name, values in sections.items())

    def dataset_command(self) -> list[str]:
        """Make the data."""
        command = ["dataset", "complete-journey", "--out", str(self.data)]
        return [*command, "--events", str(self.data_events), "--seed", str(self.seed)]

    def train_command(self) -> list[str]:
        """Train the bundle."""
        command = ["train", *self._files(), "--out", str(self.bundle)]
        options = ["--epochs", str(self.epochs), "--seed", str(self.seed)]
        return [*command, *options, "--config", str(self.config)]

    def broker_command(self) -> list[str]:
        """Run the broker."""
        return ["broker", "embedded"]

    def topics_command(self, brokers: str) -> list[str]:
        """Create the topics."""
        return ["topics", "create", *self._connection(brokers)]

    def catalog_command(self, brokers: str) -> list[str]:
        """Publish the items."""
        return ["replay", *self._files(), "--catalog-only", *self._connection(brokers)]

    def worker_command(self, brokers: str, metrics_port: int) -> list[str]:
        """Run the worker."""
        options = ["--bundle", str(self.bundle), "--metrics-port", str(metrics_port)]
        return ["worker", *options, *self._connection(brokers)]

    def collector_command(self, brokers: str, page: str) -> list[str]:
        """Run the collector, for the page of this origin."""
        return ["collect", "--allow-origin", page, *self._connection(brokers)]

    def gateway_command(self, brokers: str, page: str) -> list[str]:
        """Run the gateway for browsers, for the page of this origin."""
        return ["gateway", "serve", "--allow-origin", page, *self._connection(brokers)]

    def storefront_command(
        self, brokers: str, port: int, collector: str, gateway: str
    ) -> list[str]:
        """Serve the page, which talks to the collector and the gateway at these origins."""
        options = ["--collector", collector, "--gateway", gateway, "--port", str(port)]
        return ["storefront", *options, *self._connection(brokers)]

    def replay_command(self, brokers: str) -> list[str]:
        """Publish the events of users that training did not see."""
        limit = [] if self.events is None else ["--limit", str(self.events)]
        options = ["--users", "new", *limit, "--rate", f"{self.rate:g}", "--no-catalog"]
        return ["replay", "--events", str(self.events_file), *options, *self._connection(brokers)]

    def _files(self) -> list[str]:
        return ["--events", str(self.events_file), "--items", str(self.items_file)]

    def _connection(self, brokers: str) -> list[str]:
        return ["--bootstrap-servers", brokers, "--config", str(self.config)]


def metrics_url(port: int) -> str:
    """Return the address of the worker's metrics."""
    return f"http://{HOST}:{port}/metrics"


def _toml(name: str, values: dict[str, object]) -> str:
    # What JSON makes of a string, a number, a truth or a list of these is TOML, too.
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in values.items()]
    return f"[{name}]\n" + "\n".join(lines) + "\n"
