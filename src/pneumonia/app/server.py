"""The web server: uvicorn, less patient with connections that keep it waiting."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pneumonia.app.settings import Settings

LARGEST_HEAD = 65536
KEEP_ALIVE_SECONDS = 30
GRACE_SECONDS = 30


class ImpatientProtocol(HttpToolsProtocol):
    """Closes a connection whose request head is too slow or too long: uvicorn waits for any head forever."""

    def __init__(self, *arguments: Any, header_seconds: float, **named: Any) -> None:
        """Take uvicorn's arguments, and how long the head of a request may take."""
        super().__init__(*arguments, **named)
        self._header_seconds = header_seconds
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def on_message_begin(self) -> None:
        """Start waiting for the rest of another head."""
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head."""
        if self._deadline:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._deadline and self._head_bytes > LARGEST_HEAD:
            self.transport.close()

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(self._header_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None
        self._head_bytes = 0


def run(
    app: FastAPI,
    settings: Settings,
    *,
    proxy: str | None = None,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
) -> None:
    """Serve until told to stop.

    Args:
        app: the application.
        settings: where to listen.
        proxy: address of a reverse proxy, whose word for client and scheme is taken.
        tls_certificate: PEM file, to serve HTTPS.
        tls_key: its key.
    """
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        http=partial(ImpatientProtocol, header_seconds=settings.limits.header_seconds),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=proxy is not None,
        forwarded_allow_ips=proxy,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=tls_certificate,
        ssl_keyfile=tls_key,
    )
