"""The streaming worker: sessions of serving in the consumer group, one after the other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from schemas.settings import Settings
from worker.clients import transactional_id
from worker.delivery.errors import TransactionLostError
from worker.health import Health, watched
from worker.item_sharing.interface import MemorySource
from worker.metrics import WorkerMetrics
from worker.metrics_endpoint import serve_metrics
from worker.model.interface import AdaptationModel
from worker.out_of_memory import out_of_memory_explained
from worker.rollout.loading import LoadedModel, ModelLoader, ModelShelf, bundle_loader
from worker.rollout.rollout import NO_PLAN, BeginAnewError, Rollout, Served
from worker.session import Session
from worker.state.state_keys import sealing_of
from worker.topic_checks import check_topics
from worker.tracing.opening import traced

if TYPE_CHECKING:
    from worker.tracing.micro_batches import Tracing

_LOG = logging.getLogger(__name__)

_LOST_IN_A_ROW = 3
"""So many times a worker begins anew with nothing committed in between."""


class WorkerService:
    """One worker process: a member of the consumer group that adapts, ranks and answers.

    Example:
        service = WorkerService(settings, ServingModel.load(bundle))
        signal.signal(signal.SIGTERM, lambda *_: service.stop())
        service.run()

    Args:
        settings: all of them.
        model: the model to serve; may be None where worker.follow_models is on.
        metrics: where it is watched; None makes a registry of its own.
        item_memory: of the bundle; None if it has none. Left alone where worker.item_memory is off.
        load: loads the bundles that plans of models name; None loads them as they are trained.
        on_serving: called in `run` whenever all is loaded and serving begins.

    Raises:
        SettingsError: worker.state_key_file is not a file of keys that only the worker may read.
    """

    def __init__(
        self,
        settings: Settings,
        model: AdaptationModel | None,
        metrics: WorkerMetrics | None = None,
        item_memory: MemorySource | None = None,
        load: ModelLoader | None = None,
        *,
        on_serving: Callable[[], object] = lambda: None,
    ) -> None:
        self.settings = settings
        self.metrics = metrics or WorkerMetrics()
        memory = item_memory if settings.worker.item_memory else None
        self._own = None if model is None else LoadedModel(model, memory)
        self._load = load or bundle_loader(settings.worker)
        self._sealing = sealing_of(settings.worker.state_key_file)
        self._on_serving = on_serving
        self._stop = threading.Event()
        self._health = Health(settings.metrics.stuck_seconds)
        self.metrics.watch(self._health)
        self.serving = threading.Event()
        """Set once the catalogue is read and the group joined."""
        self.metrics_port: int | None = None

    def stop(self) -> None:
        """Ask `run` to finish the micro-batch under way, commit and return. Safe in a signal."""
        self._stop.set()

    def run(self) -> None:
        """Serve until `stop`.

        Raises:
            SettingsError: the metrics address cannot be bound, a property is wrong, or the extra
                `tracing` is asked for and not installed.
            BrokerError: the brokers cannot be reached, a topic is missing or of the wrong shape, or
                an output is not acknowledged. Nothing unacknowledged has been committed then.
            FencedError: (a BrokerError) a transaction took too long, or another worker has taken
                this one's place. Nothing of it is visible.
            DeadLetterFloodError: too many records are unusable. Those of the micro-batch are not
                committed.
            RegistryError: the schema registry cannot be asked.
            OutOfMemoryError: of the device, or beside it; the message says what to make smaller.
            InnerloopError: worker.follow_models is on, the plan's primary cannot be loaded, and
                there is no other model to begin with.
        """
        transactions = transactional_id(self.settings)
        lost = 0
        with (
            traced(self.settings, self.metrics) as tracing,
            serve_metrics(self.metrics, self.settings.metrics, self._health) as port,
            watched(self._health),
            self._following() as rollout,
        ):
            self.metrics_port = port
            while not self._stop.is_set():
                self._health.starting()
                session = self._session(rollout, transactions, tracing)
                try:
                    self._serve(session)
                except BeginAnewError as error:
                    _LOG.info("beginning anew: %s", error)
                except TransactionLostError as error:
                    lost = 1 if session.committed else lost + 1
                    if lost > _LOST_IN_A_ROW:
                        raise
                    _LOG.warning("%s; beginning anew with what is committed", error)
        _LOG.info("stopped; everything read is answered and committed")

    @contextmanager
    def _following(self) -> Iterator[Rollout | None]:
        """Follow the plans of models, if the settings say so."""
        if not self.settings.worker.follow_models:
            yield None
            return
        rollout = Rollout(self.settings, ModelShelf(self._load, self._own), self.metrics)
        try:
            yield rollout
        finally:
            rollout.close()

    def _session(
        self, rollout: Rollout | None, transactions: str, tracing: Tracing | None
    ) -> Session:
        if rollout is not None:
            served = rollout.start()
            rollout.began(served)
        else:
            assert self._own is not None, "there is no model, and no plan to follow"
            served = Served(NO_PLAN, self._own)
        return Session(
            self.settings,
            served,
            self.metrics,
            check_topics(self.settings, shared=served.memory is not None),
            stop=self._stop,
            transactions=transactions,
            rollout=rollout,
            sealing=self._sealing,
            tracing=tracing,
        )

    def _serve(self, session: Session) -> None:
        well = False
        try:
            session.start()
            self._on_serving()
            self.serving.set()
            while not self._stop.is_set():
                with out_of_memory_explained(self.settings.worker):
                    session.step()
                self._health.came_round(session.waiting_for)
            well = True
        finally:
            session.close(keep=well)
