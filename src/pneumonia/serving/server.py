"""Web server: Uvicorn with limits on the time and size of request headers."""

import asyncio
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pneumonia.serving.settings import AppSettings

MAXIMUM_HEADER_BYTES = 65536
KEEP_ALIVE_SECONDS = 30
GRACE_SECONDS = 30
STARTUP_FAILURE = 3
"""Exit status of Uvicorn for an application that does not start."""


class HeaderTimeoutProtocol(HttpToolsProtocol):
    """Closes a connection whose request headers are too slow or too large; Uvicorn has no such limit."""

    def __init__(self, *arguments: Any, header_seconds: float, **named: Any) -> None:
        """Create a protocol.

        Args:
            *arguments: as of Uvicorn's protocol.
            header_seconds: maximum time to receive the headers of a request.
            **named: as of Uvicorn's protocol.
        """
        super().__init__(*arguments, **named)
        self._header_seconds = header_seconds
        self._header_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout of the first request."""
        super().connection_made(transport)
        self._start_timeout()

    def on_message_begin(self) -> None:
        """Start the timeout of another request."""
        super().on_message_begin()
        self._start_timeout()

    def on_headers_complete(self) -> None:
        """Stop the timeout."""
        self._stop_timeout()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout."""
        self._stop_timeout()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of the headers."""
        if self._deadline:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._deadline and self._header_bytes > MAXIMUM_HEADER_BYTES:
            self.transport.close()

    def _start_timeout(self) -> None:
        self._stop_timeout()
        self._deadline = self.loop.call_later(self._header_seconds, self.transport.close)

    def _stop_timeout(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None
        self._header_bytes = 0


def make_config(
    app: FastAPI,
    settings: AppSettings,
    *,
    proxy: str | None = None,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
) -> uvicorn.Config:
    """Return the configuration of the web server.

    Args:
        app: application to serve.
        settings: address, port and limits.
        proxy: address of a reverse proxy whose X-Forwarded-* headers are trusted.
        tls_certificate: certificate for HTTPS, PEM file.
        tls_key: private key of the certificate, PEM file.
    """
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=partial(HeaderTimeoutProtocol, header_seconds=settings.limits.header_seconds),  # type: ignore[arg-type]
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


def run(config: uvicorn.Config) -> None:
    """Serve until the process is stopped; exit with status 3 if the application does not start."""
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)
