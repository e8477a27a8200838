"""HTTP requests whose heads are bounded, in size and in time: for servers that browsers reach.

uvicorn's own protocol on httptools takes heads of any size, for as long as they take to come.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 64 * 1024
"""Of a head, beyond the first read of it (256 KiB at most, as asyncio reads)."""
HEAD_S = 10.0
"""How long a head may take to come, seconds; so long may a new connection be silent, too."""

_ANSWER = (
    b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 0\r\n"
    b"connection: close\r\n\r\n"
)
_TOO_LARGE = _ANSWER % b"431 Request Header Fields Too Large"
_TOO_SLOW = _ANSWER % b"408 Request Timeout"


class BoundedHeads(HttpToolsProtocol):
    """uvicorn's HTTP protocol, refusing heads that are too large (431) or too slow (408)."""

    _begun = 0
    """Requests begun."""
    _in_head = False
    _head_bytes = 0
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        begun = self._begun
        super().data_received(data)
        # A read in which a request begins may hold the body of the one before.
        if self._in_head and self._begun == begun:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._begun += 1
        self._in_head, self._head_bytes = True, 0
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        """Take a request's head."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def _wait_for_head(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(HEAD_S, self._refuse, _TOO_SLOW)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _refuse(self, answer: bytes) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
