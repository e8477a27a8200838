import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.errors import DemoError
from worker.demo.children import Child, Children, command_name, interrupted_by_signals

FOREVER = ["broker", "embedded"]


@pytest.fixture(autouse=True)
def sigint_interrupts() -> Iterator[None]:
    """Where the tests run as a shell's background job, SIGINT is ignored from the start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def up(child: Child) -> bool:
    return "Broker ready" in child.output()


def test_leaving_the_block_stops_what_runs(tmp_path: Path) -> None:
    with Children(tmp_path / "logs") as children:
        first, second = (children.start(name, FOREVER) for name in ("first", "second"))
        wait_until(lambda: up(first) and up(second))
        first.check()
    assert first.status == second.status == 0
    assert not runs(first.pid)
    assert not runs(second.pid)


def test_one_that_does_not_heed_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.demo.children._STOPPING", ((signal.SIGKILL, 5.0),))
    with Children(tmp_path) as children:
        child = children.start("child", FOREVER)
    assert child.status == -signal.SIGKILL
    with pytest.raises(DemoError, match="child was killed by signal 9"):
        child.check()


def test_one_that_fails_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("replay", ["replay", "--events", "nowhere.csv"])
        with pytest.raises(DemoError) as raised:
            child.wait()
    message = str(raised.value)
    assert "replay ended with status 2: innerloop replay --events nowhere.csv" in message
    assert str(tmp_path / "replay.log") in message
    assert "nowhere.csv does not exist" in message


def test_one_that_is_done_may_be_done(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("settings", ["settings"])
        child.wait()
        assert "bootstrap_servers" in child.output()
        with pytest.raises(DemoError, match="ended with status 0"):
            child.check()


def test_the_users_own_settings_stay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNERLOOP_KAFKA__NO_SUCH_SETTING", "1")
    with Children(tmp_path) as children:
        child = children.start("replay", ["replay", "--events", "nowhere.csv"])
        with pytest.raises(DemoError, match=r"nowhere\.csv does not exist"):
            child.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_interrupt(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)  # nohup has SIGHUP ignored
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        os.kill(os.getpid(), number)
        time.sleep(10)
    assert signal.getsignal(number) is before


def test_a_second_signal_does_not_keep_children_from_being_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Child.stop

    def stop_disturbed(child: Child) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        stop(child)

    monkeypatch.setattr(Child, "stop", stop_disturbed)
    with pytest.raises(KeyboardInterrupt), Children(tmp_path) as children:
        started = [children.start(name, FOREVER) for name in ("first", "second")]
    assert not any(runs(child.pid) for child in started)


def test_the_command_is_named_as_it_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Path(sys.executable).with_name("innerloop")
    monkeypatch.setenv("PATH", str(script.parent))
    assert command_name() == "innerloop"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(script.parent)
    assert command_name() == "./innerloop"
    monkeypatch.chdir(script.parent.parent)
    assert command_name() == "bin/innerloop"
    monkeypatch.chdir(tmp_path)
    assert command_name() == str(script)
