"""Prometheus metrics, and a log of JSON lines.

Neither contains patient data: no file names, no requested paths, no query parameters, and no messages of other
libraries, because decoders quote the content of files. An error is logged with its type and its stack frames.
"""

import json
import logging
import sys
import time
import traceback
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pneumonia.serving.schemas import ModelInfo, Prediction

UNMATCHED = "unmatched"
"""Route label of requests that match no route."""
PROBABILITY_BUCKETS = tuple(tenth / 10 for tenth in range(1, 11))
SECONDS_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
LOGGED_MESSAGES = ("pneumonia", "uvicorn")
"""Top-level loggers whose messages are logged; of others only logger, level and error type."""
PACKAGE = str(Path(__file__).parents[1])

log = logging.getLogger(__name__)


class ServiceMetrics:
    """Prometheus metrics of one application."""

    def __init__(self) -> None:
        """Create all metrics, with the value zero."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "pneumonia_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "pneumonia_request_seconds",
            "Time from receiving the headers to the end of the response.",
            ["route"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.images = Counter(
            "pneumonia_images", "Images by status and decision.", ["status", "decision"], registry=self.registry
        )
        self.refusals = Counter("pneumonia_refusals", "Images without a result.", ["code"], registry=self.registry)
        self.scores = Histogram(
            "pneumonia_score", "Probability of PNEUMONIA.", buckets=PROBABILITY_BUCKETS, registry=self.registry
        )
        self.feedback = Counter("pneumonia_feedback", "Assessments of readers.", ["verdict"], registry=self.registry)
        self.busy = Counter("pneumonia_busy", "Requests rejected because the queue was full.", registry=self.registry)
        self.model = Gauge(
            "pneumonia_model", "1 for the model in use.", ["name", "version", "bundle_sha256"], registry=self.registry
        )
        self.swap_failed = Gauge(
            "pneumonia_model_swap_failed", "1 while a newer model fails to load.", registry=self.registry
        )
        self.log_failures = Counter(
            "pneumonia_log_failures",
            "Entries not written to the prediction log.",
            registry=self.registry,
        )

    def observe(self, prediction: Prediction) -> None:
        """Count one image; a result that is withheld from its reader is counted like any other."""
        self.images.labels(prediction.status, prediction.decision or "").inc()
        if prediction.refusal:
            self.refusals.labels(prediction.refusal.code).inc()
        if prediction.probability is not None:
            self.scores.observe(prediction.probability)

    def set_model(self, model: ModelInfo, *, failed: bool) -> None:
        """Set which model is in use, and whether a newer one fails to load."""
        self.model.clear()
        self.model.labels(model.name, "" if model.version is None else model.version, model.bundle_sha256).set(1)
        self.swap_failed.set(failed)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class TelemetryMiddleware:
    """Counts, times and logs every request (an ASGI middleware)."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics) -> None:
        """Wrap an application."""
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500

        async def send_and_record(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_record)
        finally:
            seconds = time.perf_counter() - start
            # The requested path may contain patient data; the route has placeholders.
            route = getattr(scope.get("route"), "path", UNMATCHED)
            self.metrics.requests.labels(scope["method"], route, status).inc()
            self.metrics.latency.labels(route).observe(seconds)
            fields = {"method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1000, 1)}
            log.info("request", extra=fields)


class JsonFormatter(logging.Formatter):
    """Formats log records as one JSON object per line, without messages of other libraries."""

    _standard = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON object of a record; an exception is reduced to its type and stack frames."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if record.name.split(".")[0] in LOGGED_MESSAGES:
            line["event"] = record.getMessage()
            line |= {key: value for key, value in vars(record).items() if key not in self._standard}
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            line["frames"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in frames
                if PACKAGE in frame.filename or frame is frames[-1]
            ]
        return json.dumps(line, default=str)


def configure_logging() -> None:
    """Log this process as JSON lines to stderr, and suppress Python warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for name in ("alembic", "sqlalchemy", "pydicom", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
