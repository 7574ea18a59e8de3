"""Limits on the bodies of requests: how large they are, and how long they may take to come (an ASGI middleware)."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pneumonia.app.problems import Problem
from pneumonia.app.settings import MIB, Limits

UPLOADS = "/api/v1/predictions"
SMALL_BYTES = 65536
"""For everything but uploads."""
CLOSE = {"Connection": "close"}  # what still comes of a refused request is not read


class BodyLimits:
    """Raises a problem, where the body is read, when it is too large or too slow."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        """Stand in front of an application."""
        self.app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through and count what comes of its body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        allowed = self._limits.request_bytes if scope["path"] == UPLOADS else SMALL_BYTES
        seconds = self._limits.upload_seconds
        deadline = asyncio.get_running_loop().time() + seconds
        received, is_complete = 0, False

        async def counting() -> Message:
            nonlocal received, is_complete
            if is_complete:  # then it waits for the client to hang up
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                detail = f"the request took more than {seconds:g} seconds. Send fewer images at once."
                raise Problem(408, "slow_upload", detail, CLOSE) from None
            received += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if received > allowed:
                detail = f"the request is larger than {allowed / MIB:.4g} MB. Send less at once."
                raise Problem(413, "too_large", detail, CLOSE)
            return message

        await self.app(scope, counting, send)
