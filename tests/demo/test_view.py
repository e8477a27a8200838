import io
from pathlib import Path

import pytest
from demo_parts import plan, recorded
from rich.console import Console, RenderableType

from worker.demo.frame import Frame, RecentPast
from worker.demo.scrape import WorkerSample
from worker.demo.screen import LINE_EVERY_S, Screen
from worker.demo.summary import summary
from worker.demo.view import line, render
from worker.demo.visitors import Example

EXAMPLE = Example(5, ("Bread", "Cheese"), (("Crackers", "goes with Cheese"),))


def frame(worker: WorkerSample, seconds: float = 75.0, example: Example | None = EXAMPLE) -> Frame:
    answered = int(worker.applied)
    return Frame(seconds, 44_444, answered, answered, 598.4, worker.latency, worker, example)


def shown(what: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(what)
    return console.file.getvalue()


def row(text: str, name: str) -> list[str]:
    (found,) = (cells for line in text.splitlines() if (cells := line.split())[1:2] == [name])
    return found[2:-1]


def test_the_view_of_a_recording() -> None:
    text = shown(render(frame(recorded())))
    assert " ".join(row(text, "innerloop")) == "0.221 0.247 0.248 0.254 0.234 0.207 0.155 0.222"
    assert " ".join(row(text, "popularity")) == "0.203 0.205 0.191 0.192 0.177 0.158 0.126 0.176"
    assert row(text, "gain")[0] == "+9%"
    assert row(text, "events")[-1] == "44,444"
    for part in ("44,444 of 44,444", "598 events/s", "5.4 s / 28.0 s", "5.67 → 3.83 nats", "5,369"):
        assert part in text
    for part in ("Cheese, after Bread", "Crackers", "goes with Cheese"):
        assert part in text


def test_the_view_fits_a_terminal_of_80_columns() -> None:
    long = Example(12, ("Long " * 30,) * 4, (("Title " * 20, "goes with " + "x" * 90),) * 5)
    lines = shown(render(frame(recorded(), example=long))).splitlines()
    assert max(map(len, lines)) == 80
    assert len(lines) == len(shown(render(frame(recorded()))).splitlines())


def test_before_the_first_event_there_are_dashes() -> None:
    text = shown(render(frame(WorkerSample.nothing(), 0.0, None)))
    assert set(row(text, "innerloop")) == {"–"}
    assert "nan" not in text
    assert "nan" not in line(frame(WorkerSample.nothing(), 0.0, None))


def test_the_line() -> None:
    text = line(frame(recorded()))
    assert "answered 44,444 of 44,444" in text
    assert "HR@20 0.222 (popularity 0.176)" in text


def test_where_there_is_no_terminal_lines_come_every_few_seconds() -> None:
    console = Console(file=io.StringIO(), width=200)
    with Screen(console) as screen:
        for seconds in range(31):
            screen.show(frame(recorded(), float(seconds)))
    lines = console.file.getvalue().splitlines()
    assert [text.split()[0] for text in lines] == ["5", "10", "15", "20", "25", "30"]
    assert LINE_EVERY_S == 5


def test_a_terminal_gets_the_view_and_it_vanishes_at_the_end() -> None:
    console = Console(file=io.StringIO(), width=80, height=40, force_terminal=True)
    with Screen(console) as screen:
        screen.show(frame(recorded()))
        assert "popularity" in console.file.getvalue()
    assert console.file.getvalue().endswith("\x1b[1A\x1b[2K")


def test_the_summary(tmp_path: Path) -> None:
    text = shown(summary(frame(recorded()), plan(tmp_path), cut_short=False))
    for part in ("44,444, of 5,369 visitors", "593 events/s", "5.4 s / 28.0 s", "0.222"):
        assert part in text
    assert "--rate" not in text


def test_the_summary_of_a_replay_that_was_too_fast_says_which_rate_would_do(tmp_path: Path) -> None:
    text = shown(summary(frame(recorded()), plan(tmp_path, rate=9000.0), cut_short=True))
    assert "9000 a second" in text
    assert "--rate 593" in " ".join(text.split())


def test_recent_is_the_window_and_no_more() -> None:
    past, latency = RecentPast(window_s=10), recorded().latency
    assert past.add(0.0, 0, latency)[0] == 0
    assert past.add(5.0, 500, latency)[0] == pytest.approx(100)
    assert past.add(10.0, 2500, latency)[0] == pytest.approx(250)
    assert past.add(15.0, 3000, latency)[0] == pytest.approx(250)
    assert past.add(15.0, 3000, latency)[1].count == 0
