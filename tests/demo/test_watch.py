"""The watch over a replay, with a real metrics endpoint and everything else under control."""

from collections.abc import Iterator

import pytest
from demo_parts import recorded

from schemas.clickstream import ClickstreamEvent, EventType
from schemas.errors import DemoError
from schemas.settings import MetricsSettings
from worker.demo import watch as watch_module
from worker.demo.frame import Frame
from worker.demo.storefront.guests import PREFIX
from worker.demo.visitors import Visitors
from worker.demo.watch import Watch
from worker.metrics import WorkerMetrics
from worker.metrics_endpoint import serve_metrics

CLICK = ClickstreamEvent(
    event_id="e", user_id=f"{PREFIX}1", type=EventType.VIEW, time=0, item_id="a"
)


class Process:
    """Stands for a child process."""

    def __init__(self, status: int | None = None) -> None:
        self.status = status
        self.stopped = False

    def check(self, *, may_end: bool = False) -> None:
        if self.status is not None and not (may_end and self.status == 0):
            raise DemoError("a process ended")

    def tail(self) -> str:
        return "\nthe end of the log"

    def stop(self) -> None:
        self.stopped, self.status = True, 130


class Scene:
    """A replay and a worker that answers some of it at every look."""

    def __init__(self, metrics: WorkerMetrics, port: int) -> None:
        self.metrics = metrics
        self.worker, self.replay = Process(), Process()
        self.visitors = Visitors({})
        self.watch = Watch(self.worker, port, [self.worker], stalled_after_s=0.3)
        self.frames: list[Frame] = []
        self.to_send = 100
        self.sends = 25
        self.answers = 25
        self.published = 0
        self.clicks = 0
        """Of a user of the page, at every look."""

    def read(self, wait_s: float) -> None:
        if self.replay.status is None:
            self.published = min(self.to_send, self.published + self.sends)
            if self.published == self.to_send:
                self.replay.status = 0
        for _ in range(min(self.answers, self.published - self.visitors.answered)):
            self.visitors._answered.add(str(self.visitors.answered))
            self.metrics.latency_seconds.observe(0.02)
        for _ in range(self.clicks):
            self.visitors.add_event(CLICK)
            self.metrics.latency_seconds.observe(0.02)

    def sent(self) -> int:
        return self.published + self.visitors.guests_events

    def follow(self) -> Frame:
        return self.watch.follow(self.replay, self.to_send, self, self.visitors, self.frames.append)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(watch_module, "_METRICS_EVERY_S", 0.0)
    monkeypatch.setattr(watch_module, "_TICK_S", 0.01)
    metrics = WorkerMetrics()
    with serve_metrics(metrics, MetricsSettings(port=0)) as port:
        assert port is not None
        yield Scene(metrics, port)


def test_it_ends_when_all_is_answered(scene: Scene) -> None:
    last = scene.follow()
    assert (last.sent, last.answered, last.expected) == (100, 100, 100)
    assert [frame.sent for frame in scene.frames] == [25, 50, 75, 100]
    assert last.worker.latency.count == 100
    assert not scene.watch.cut_short


def test_clicks_on_the_page_are_none_of_the_replay(scene: Scene) -> None:
    scene.clicks = 3
    last = scene.follow()
    assert (last.sent, last.answered, last.expected) == (100, 100, 100)
    assert scene.visitors.guests_events == 12
    assert last.visitors == last.worker.users - 1


def test_it_does_not_end_before_the_last_answer(scene: Scene) -> None:
    scene.answers = 10
    scene.follow()
    assert scene.frames[3].sent == 100
    assert scene.frames[3].unanswered == 60
    assert len(scene.frames) == 10


def test_events_that_stay_unanswered_are_an_error(scene: Scene) -> None:
    scene.answers = 0
    with pytest.raises(DemoError, match=r"100 of 100 events have no answer.*(?s:.*)end of the log"):
        scene.follow()


def test_a_pause_in_the_replay_is_none(scene: Scene) -> None:
    scene.watch._stalled_after_s = 0.0
    scene.sends = 0
    read = scene.read

    def read_later(wait_s: float) -> None:
        read(wait_s)
        if len(scene.frames) == 5:
            raise InterruptedError

    scene.read = read_later  # type: ignore[method-assign]
    with pytest.raises(InterruptedError):
        scene.follow()


def test_a_worker_that_falls_too_far_behind_ends_the_replay_and_no_event_is_lost(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "MOST_UNANSWERED", 50)
    scene.answers = 5
    last = scene.follow()
    assert scene.watch.cut_short
    assert scene.replay.stopped
    assert last.sent == last.answered == 75


@pytest.mark.parametrize("who", ["worker", "replay"])
def test_a_process_that_ends_before_its_time_is_an_error(scene: Scene, who: str) -> None:
    getattr(scene, who).status = 1
    with pytest.raises(DemoError, match="a process ended"):
        scene.follow()


def test_an_endpoint_that_does_not_answer_once_is_no_error(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, calls = watch_module.fetch, []

    def fetch_sometimes(url: str) -> str | None:
        calls.append(url)
        return None if len(calls) == 2 else fetch(url)

    monkeypatch.setattr(watch_module, "fetch", fetch_sometimes)
    assert scene.follow().answered == 100
    assert scene.frames[0].worker == scene.frames[1].worker


def test_ready_is_when_all_partitions_are_read_back(scene: Scene) -> None:
    scene.metrics.rebalanced_partitions.labels("assigned").inc(4)
    for _ in range(3):
        scene.metrics.restore_seconds.observe(0.1)
    checks = []

    def check_and_restore(*, may_end: bool = False) -> None:
        checks.append(may_end)
        if len(checks) == 3:
            scene.metrics.restore_seconds.observe(0.1)

    scene.worker.check = check_and_restore  # type: ignore[method-assign]
    assert scene.watch.wait_until_ready(4).restored == 4
    assert len(checks) == 3


def test_a_worker_that_does_not_get_ready_is_an_error(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "READY_WITHIN_S", 0.05)
    with pytest.raises(DemoError, match=r"not ready after 0.05 s\nthe end of the log"):
        scene.watch.wait_until_ready(4)


def test_the_recording_is_of_a_ready_worker() -> None:
    sample = recorded()
    assert sample.partitions == sample.restored == 4
