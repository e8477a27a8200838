"""What a worker is made of while it is a member of its group: clients, model, catalogue, users."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING

from schemas.codec import Codec, build_codec
from schemas.settings import Settings
from schemas.topics import Topic
from worker.arm import ArmParts
from worker.catalogue import Catalogue
from worker.catalogue_follower import CatalogueFollower
from worker.clients import make_member, make_reader
from worker.coalescing.owed import Owed
from worker.delivery.making import make_delivery
from worker.item_sharing.interface import MemorySource
from worker.item_sharing.sharing import SharedMemory, share
from worker.metrics import Rebalance, Stage, WorkerMetrics
from worker.micro_batch import BatchProcessor, wall_clock_ms
from worker.privacy.follower import PrivacyFollower
from worker.privacy.progress import committed_by
from worker.privacy.stage import PrivacyStage
from worker.restore.broker_facts import BrokerFacts
from worker.restore.loader import StateLoader
from worker.restore.restorer import StateRestorer
from worker.restore.take_over import TakeOver
from worker.restore.warm import WarmRestart
from worker.rollout.arms import Arms
from worker.rollout.line_up import LineUp
from worker.rollout.rollout import Rollout, Served
from worker.rollout.stores import SharedStore
from worker.rollout.switcher import Switcher
from worker.stages.batch_limit import BatchLimit, Pace
from worker.stages.commit import Committer
from worker.stages.dead_letter_limits import DeadLetterLimits
from worker.stages.decode import Decoder
from worker.stages.poll import IDLE_WAIT_S, Poller
from worker.state.disk_store import DiskStore
from worker.state.sealing import PLAIN, Sealing
from worker.state.store import open_store
from worker.trending.follower import TrendingFollower

if TYPE_CHECKING:
    from worker.tracing.micro_batches import Tracing

_LOG = logging.getLogger(__name__)

_APART = 0.2
"""Of the latency target: micro-batches begin so far apart at least."""


class Session:
    """The clients and parts of a worker from when it joins the group until it leaves.

    Args:
        settings: all of them.
        served: the model to serve, or models.
        metrics: of the worker.
        partitions: how many its topics have.
        stop: set when it is to end.
        transactions: the transactional.id, for delivery exactly once.
        rollout: the plans of models to follow; None follows none.
        sealing: how users are written to disk.
        tracing: of the records; None if none is to be traced.
    """

    def __init__(
        self,
        settings: Settings,
        served: Served,
        metrics: WorkerMetrics,
        partitions: dict[Topic, int],
        *,
        stop: threading.Event,
        transactions: str,
        rollout: Rollout | None = None,
        sealing: Sealing = PLAIN,
        tracing: Tracing | None = None,
    ) -> None:
        self.committed = False
        """Whether any transaction was committed."""
        self._settings = settings
        self._metrics = metrics
        self._stop = stop
        worker, kafka = settings.worker, settings.kafka
        codec = build_codec(settings.wire)
        clickstream = kafka.topic(Topic.CLICKSTREAM)
        self._consumer = make_member(settings)
        catalogue_reader = make_reader(settings, Topic.CATALOG, wait_ms=100)
        state_reader = make_reader(settings, Topic.USER_STATE, wait_ms=10, await_transactions=True)
        self._readers = [catalogue_reader, state_reader]
        catalogue = self._items = Catalogue(served.primary.model)
        self._catalogue = CatalogueFollower(
            catalogue_reader, partitions[Topic.CATALOG], codec, catalogue, metrics
        )
        memory = served.memory
        self._shared = None if memory is None else self._share(memory, partitions)
        item_learning = None if self._shared is None else self._shared.learning
        store = open_store(worker.state_folder, warm=worker.warm_restart, sealing=sealing)
        self._warm = (
            WarmRestart(store, state_reader, BrokerFacts(settings), settings, wall_clock_ms)
            if isinstance(store, DiskStore) and worker.warm_restart
            else None
        )
        owed = self._owed = (
            Owed(worker.min_interval_ms / 1000.0, metrics) if worker.coalesces else None
        )
        self._trending = (
            TrendingFollower(settings, codec, metrics) if worker.trending_prior else None
        )
        arms = self._arms = Arms(store, metrics, owed)
        parts = ArmParts(
            settings=settings,
            codec=codec,
            metrics=metrics,
            store=SharedStore(store, arms.canonical),
            item_learning=item_learning,
            now_ms=wall_clock_ms,
            trends=None if self._trending is None else self._trending.latest,
            sealing=sealing,
        )
        line_up = LineUp(arms, parts, catalogue, by_variant=rollout is not None)
        line_up.form(served)
        self._loader = StateLoader(arms.model, arms.primary.users)
        resume = None if self._warm is None else self._warm.resume
        restorer = StateRestorer(state_reader, self._loader, metrics, clickstream, resume)
        self._switcher = (
            None if rollout is None else Switcher(rollout, line_up, memory, metrics, self._switched)
        )
        self._requests = self._follow_requests(codec, partitions)
        others = (None if self._shared is None else self._shared.follower, self._requests)
        self._take_over = TakeOver([restorer, *(one for one in others if one is not None)])
        self._committer = Committer(
            self._consumer, clickstream, metrics, kafka.topic(Topic.PRIVACY)
        )
        self._delivery = make_delivery(
            settings, self._consumer, self._committer, metrics, transactions
        )
        self._poller = Poller(
            self._consumer,
            topic=clickstream,
            wait_s=worker.batch_wait_ms / 1000.0,
            changed=self._assignment_changed,
        )
        self._limit = BatchLimit(worker.batch_events, worker.latency_target_ms / 1000.0)
        self._pace = Pace(_APART * worker.latency_target_ms / 1000.0)
        self._privacy = self._answer_requests(codec, partitions)
        self._processor = BatchProcessor(
            decoder=Decoder(
                codec,
                max_bytes=worker.max_event_bytes,
                max_future_ms=worker.max_future_seconds * 1000,
                now_ms=wall_clock_ms,
            ),
            answering=arms,
            records=self._delivery,
            offsets=self._delivery,
            metrics=metrics,
            dead_letter_topic=kafka.topic(Topic.DEAD_LETTERS),
            item_learning=item_learning,
            limits=DeadLetterLimits(
                window=worker.dead_letter_window,
                ratio=worker.dead_letter_ratio,
                consecutive=worker.dead_letter_consecutive,
            ),
            owed=owed,
            privacy=self._privacy,
            tracing=tracing,
        )
        self._tracing = tracing
        self._delivery.on_visible(self._visible)

    def start(self) -> None:
        """Read the catalogue and what all workers learned of its items, then join the group."""
        self._delivery.start()  # has what its last self left open aborted, so that nobody waits
        self._catalogue.catch_up(self._settings.worker.catalog_wait_seconds, self._stop)
        _LOG.info("the catalogue has %d items", len(self._items))
        if self._shared is not None:
            self._shared.start(self._stop)
        if self._trending is not None:
            self._trending.start()
        self._arms.warm_up()
        if self._warm is not None:
            self._warm.start()
        self._poller.subscribe()

    @property
    def waiting_for(self) -> str | None:
        """What has to come before all assigned partitions are processed; None if nothing."""
        return "users' states" if self._take_over.pending else None

    def step(self) -> None:
        """Process one micro-batch, if there are records; go on with what else is to be done."""
        begin = time.perf_counter()
        followed = self._shared is None or not self._shared.follower.behind
        most = self._limit.records
        within = math.inf if self._owed is None else self._owed.wait_s()
        messages = self._poller.poll(most, self._wait_s(followed), within, self._pace.wait_s())
        self._delivery.polled()
        if messages:
            self._pace.begin()
            self._metrics.took(Stage.POLL, begin, time.perf_counter())
        if self._take_over.pending:
            self._poller.ready(self._take_over.step())
        # Events wait for the catalogue, not it for them: an event on an item that was published
        # before it is to find the item. What has not been fetched yet of two topics has no order.
        level = self._catalogue.catch_up(self._settings.worker.catalog_wait_seconds, self._stop)
        if self._shared is not None:
            self._shared.follower.follow()
        if self._requests is not None:
            self._requests.follow()
        taken = time.perf_counter()
        due = (self._owed is not None and self._owed.wait_s() == 0.0) or (
            self._privacy is not None and self._privacy.due
        )
        if (messages or due) and (level or not self._stop.is_set()):
            self._processor.process(messages)
        self._delivery.settle(more=len(messages) >= most)
        waiting = self._committer.report_lag(self._poller.partitions)
        if messages:
            self._limit.processed(len(messages), time.perf_counter() - taken, waiting)
        if self._switcher is not None:
            self._switcher.step()
        self._arms.tidy_up()
        if self._warm is not None:
            self._warm.tidy_up()

    def _wait_s(self, followed: bool) -> float:
        """Return how long a first record may be waited for: not at all while there is else to do.

        Args:
            followed: whether all is known that the other workers learned.
        """
        if not followed or self._take_over.pending:
            return 0.0
        return min(self._delivery.due_s, IDLE_WAIT_S)

    def close(self, *, keep: bool = False) -> None:
        """Leave the group and close the clients. What is owed is answered, if memory is in order.

        Args:
            keep: whether memory is as it should be after the last `step`, so that what is owed may
                be answered, and users be kept for a warm restart.
        """
        try:
            if keep and self._owed is not None and self._owed.make_due():
                self._processor.process([])
            delivered = self._delivery.close()
            if keep and delivered and self._warm is not None:
                member, partitions = self._consumer.memberid(), self._poller.partitions
                self._warm.mark(member, partitions, self._poller.serve)
            self._consumer.close()
            if self._warm is not None:
                self._warm.save(self._arms)
            for reader in self._readers:
                reader.close()
        finally:
            if self._trending is not None:
                self._trending.close()
            if self._switcher is not None:
                self._switcher.close()
            if self._tracing is not None:
                self._tracing.abandon()
            self._arms.close()  # its folder is wanted by who comes next

    def _switched(self) -> None:
        self._loader.use(self._arms.model, self._arms.primary.users)

    def _visible(self, batches: int) -> None:
        self.committed = True
        self._processor.visible(batches)

    def _assignment_changed(self, partitions: list[int], how: Rebalance) -> None:
        self._metrics.rebalanced_partitions.labels(how.value).inc(len(partitions))
        _LOG.info("partitions %s: %s", how.value, sorted(partitions))
        if how is Rebalance.ASSIGNED:
            self._take_over.begin(partitions)
            return
        self._take_over.abandon(partitions)
        self._delivery.give_up(how)  # the last chance before the partitions go
        self._committer.forget(partitions)
        self._arms.owe_nothing(partitions)
        self._processor.release_partitions(partitions)
        lost = how is Rebalance.LOST
        for partition in partitions:
            if self._warm is None or not self._warm.keeps(partition, lost=lost):
                self._arms.release_partition(partition)
        self._arms.report()

    def _follow_requests(
        self, codec: Codec, partitions: dict[Topic, int]
    ) -> PrivacyFollower | None:
        """Return who reads `privacy`; None where there is no such topic."""
        if Topic.PRIVACY not in partitions:
            return None
        reader = make_reader(self._settings, Topic.PRIVACY, wait_ms=100)
        self._readers.append(reader)
        committed = committed_by(self._consumer, reader.topic)
        return PrivacyFollower(reader, codec, self._metrics, committed)

    def _answer_requests(self, codec: Codec, partitions: dict[Topic, int]) -> PrivacyStage | None:
        if self._requests is None:
            return None
        instance = self._settings.worker.instance_id
        return PrivacyStage(
            self._requests,
            self._arms,
            codec,
            self._settings.kafka,
            self._metrics,
            ready=lambda: self._poller.partitions,
            worker=lambda: instance or self._consumer.memberid() or "",
            audited=Topic.PRIVACY_AUDIT in partitions,
            now_ms=wall_clock_ms,
        )

    def _share(self, source: MemorySource, partitions: dict[Topic, int]) -> SharedMemory:
        reader = make_reader(
            self._settings, Topic.ITEM_TRANSITIONS, wait_ms=100, await_transactions=True
        )
        self._readers.append(reader)
        return share(
            source,
            reader,
            self._items,
            self._metrics,
            settings=self._settings,
            partitions=partitions[Topic.ITEM_TRANSITIONS],
            now_ms=wall_clock_ms,
        )
