"""What an OpenTelemetry collector is to a worker: takes spans by OTLP over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE_S = 120.0


class OtlpReceiver:
    """A server on a free port, and the spans that it got."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []
        self.paths: set[str] = set()
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver._take(self.path, ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"

    def wait_for(self, ready: Callable[[list[Span]], bool], what: str) -> list[Span]:
        """Wait until what was got will do; return it."""
        deadline = time.monotonic() + PATIENCE_S
        with self._changed:
            while not ready(self.spans):
                left = deadline - time.monotonic()
                assert left > 0, f"not in time: {what}; got {[s.name for s in self.spans]}"
                self._changed.wait(left)
            return list(self.spans)

    def _take(self, path: str, request: ExportTraceServiceRequest) -> None:
        with self._changed:
            self.paths.add(path)
            for found in request.resource_spans:
                self.resources.append(
                    {each.key: each.value.string_value for each in found.resource.attributes}
                )
                for scope in found.scope_spans:
                    self.spans += scope.spans
            self._changed.notify_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def attributes(span: Span) -> dict[str, str | int]:
    """Return a span's attributes, which are texts and whole numbers."""
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}
