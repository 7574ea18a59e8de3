"""Sliding-window rate limits per client."""

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import HTTPConnection

from pneumonia.serving.problems import Problem


class ClientRateLimiter:
    """Sliding-window rate limiter, per client address."""

    def __init__(self, per_minute: int, what: str) -> None:
        """Set the limit.

        Args:
            per_minute: maximum number of events per client in any 60 seconds.
            what: events in the plural, for messages.
        """
        self._item: RateLimitItem = RateLimitItemPerMinute(per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._what = what

    def check(self, connection: HTTPConnection) -> None:
        """Check that a client has not reached the limit; counts nothing.

        Raises:
            Problem: 429, the limit is reached.
        """
        if not self._limiter.test(self._item, _client(connection)):
            raise self._problem()

    def hit(self, connection: HTTPConnection) -> None:
        """Count one event of a client.

        Raises:
            Problem: 429, the limit was reached before.
        """
        if not self._limiter.hit(self._item, _client(connection)):
            raise self._problem()

    def _problem(self) -> Problem:
        detail = f"too many {self._what}, expected at most {self._item.amount} per minute. Try again later."
        return Problem(429, "too_many", detail, {"Retry-After": "60"})


def _client(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else "unknown"
