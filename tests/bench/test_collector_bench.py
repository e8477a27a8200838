"""`innerloop bench collector`: a real collector and the raw producer, in turns."""

import socket
import threading

import pytest
from bench_command import bench

from schemas.errors import BenchError
from worker.bench.http_load import closed_loop, http_request


def test_both_publish_the_same_events_in_the_same_ways(tmp_path):
    report = bench(tmp_path, "collector", "--broker", "embedded")
    cases = [(1, 1), (1, 32), (50, 1), (50, 8)]
    for method in ("producer", "collector"):
        for batch, under_way in cases:
            figures = report.one(method, batch=batch, under_way=under_way).figures
            assert len(figures["events_per_s"].values) == report.settings["repeats"] == 2
            assert figures["events_per_s"].min > 0
            assert 0 < figures["p50_ms"].median <= figures["p99_ms"].median
    assert report.one("producer", under_way="no bound").figures["events_per_s"].min > 0
    assert len(report.results) == 2 * len(cases) + 1


def answering(answer: bytes) -> int:
    """Answer one request like this, in a thread; return the port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server, server.accept()[0] as connection:
            while b"\r\n\r\n" not in connection.recv(65_536):
                pass
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 503 X\r\nContent-Length: 4\r\n\r\naway", "503 x: away"),
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nx", "closed"),
        (b"", "closed"),
    ],
)
def test_an_answer_that_is_not_202_is_an_error(answer, message):
    request = http_request("/v1/events", b"{}", [("X", "y")])
    assert request.endswith(b"X: y\r\n\r\n{}")
    with pytest.raises(BenchError, match=message):
        closed_loop(("127.0.0.1", answering(answer)), [request], 1)
