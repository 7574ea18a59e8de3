"""What the service tells those who run it: Prometheus metrics, and a log of JSON lines.

Neither has anything of a patient: no file names, no paths as they were asked for, no parameters, no messages of other
libraries (decoders quote what they stumble over). An error is logged by its type and the places it passed.
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

from pneumonia.app.schemas import ModelFacts, Prediction

UNMATCHED = "unmatched"
TENTHS = tuple(tenth / 10 for tenth in range(1, 11))
SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
OWN = ("pneumonia", "uvicorn")
PACKAGE = str(Path(__file__).parents[1])

log = logging.getLogger(__name__)


class Metrics:
    """All metrics of one application."""

    def __init__(self) -> None:
        """Make them, all at zero."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "pneumonia_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "pneumonia_request_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.images = Counter(
            "pneumonia_images", "Images by what came of them.", ["status", "decision"], registry=self.registry
        )
        self.refusals = Counter("pneumonia_refusals", "Images not answered.", ["code"], registry=self.registry)
        self.scores = Histogram("pneumonia_score", "Probability of PNEUMONIA.", buckets=TENTHS, registry=self.registry)
        self.feedback = Counter("pneumonia_feedback", "Verdicts of readers.", ["verdict"], registry=self.registry)
        self.busy = Counter("pneumonia_busy", "Requests refused because the queue was full.", registry=self.registry)
        self.model = Gauge(
            "pneumonia_model",
            "1 for the model that answers.",
            ["name", "version", "bundle_sha256"],
            registry=self.registry,
        )
        self.swap_failed = Gauge(
            "pneumonia_model_swap_failed", "1 while a newer model cannot take over.", registry=self.registry
        )

        self.log_failures = Counter(
            "pneumonia_log_failures", "Entries that the log of predictions lacks.", registry=self.registry
        )

    def count(self, prediction: Prediction) -> None:
        """Count one image; a withheld answer counts as what it is."""
        self.images.labels(prediction.status, prediction.decision or "").inc()
        if prediction.refusal:
            self.refusals.labels(prediction.refusal.code).inc()
        if prediction.probability is not None:
            self.scores.observe(prediction.probability)

    def show_model(self, facts: ModelFacts, *, failed: bool) -> None:
        """Say which model answers."""
        self.model.clear()
        self.model.labels(facts.name, "" if facts.version is None else facts.version, facts.bundle_sha256).set(1)
        self.swap_failed.set(failed)

    def render(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self.registry)


class Watch:
    """Counts, times and logs every request (an ASGI middleware)."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Stand in front of an application."""
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through and note what came of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            seconds = time.perf_counter() - start
            # The path as it was asked for may hold anything; the route has placeholders.
            route = getattr(scope.get("route"), "path", UNMATCHED)
            self.metrics.requests.labels(scope["method"], route, status).inc()
            self.metrics.latency.labels(route).observe(seconds)
            told = {"method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1000, 1)}
            log.info("request", extra=told)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    _plain = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; of other libraries only where it comes from, of an error only type and places."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if record.name.split(".")[0] in OWN:
            line["event"] = record.getMessage()
            line |= {key: value for key, value in vars(record).items() if key not in self._plain}
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            passed = traceback.extract_tb(record.exc_info[2])
            line["places"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in passed
                if PACKAGE in frame.filename or frame is passed[-1]
            ]
        return json.dumps(line, default=str)


def configure_logging() -> None:
    """Write the log of this process as JSON lines to stderr, and no warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for name in ("alembic", "sqlalchemy", "pydicom", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
