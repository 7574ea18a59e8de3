"""Limits on the size and the duration of request bodies."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pneumonia.serving.problems import Problem
from pneumonia.serving.settings import MIB, RequestLimits

UPLOAD_PATH = "/api/v1/predictions"
SMALL_BODY_BYTES = 65536
"""Maximum body size of requests that are not uploads."""
CLOSE = {"Connection": "close"}
"""Header of a rejected request whose remaining body is not read."""


class BodyLimitMiddleware:
    """Raises a problem while the body is read when it is too large or too slow (an ASGI middleware)."""

    def __init__(self, app: ASGIApp, limits: RequestLimits) -> None:
        """Wrap an application."""
        self.app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, measuring its body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        allowed = self._limits.request_bytes if scope["path"] == UPLOAD_PATH else SMALL_BODY_BYTES
        seconds = self._limits.upload_seconds
        deadline = asyncio.get_running_loop().time() + seconds
        received, is_complete = 0, False

        async def receive_limited() -> Message:
            nonlocal received, is_complete
            if is_complete:  # the application now waits for a disconnect, which has no deadline
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                detail = f"the request took longer than {seconds:g} seconds. Send fewer images per request."
                raise Problem(408, "slow_upload", detail, CLOSE) from None
            received += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if received > allowed:
                detail = f"the request is larger than {allowed / MIB:.4g} MB. Send fewer or smaller files per request."
                raise Problem(413, "too_large", detail, CLOSE)
            return message

        await self.app(scope, receive_limited, send)
