"""The FastAPI application."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from pneumonia.inference.intake import Limits
from pneumonia.monitoring.log import Log
from pneumonia.registry import resolve
from pneumonia.serving import api, downloads, login, pages, problems, pseudonyms, responses
from pneumonia.serving.access import ApiKeys
from pneumonia.serving.active_model import ActiveModel
from pneumonia.serving.batching import InferenceBatcher
from pneumonia.serving.body_limits import BodyLimitMiddleware
from pneumonia.serving.image_cache import ImageCache
from pneumonia.serving.log_writer import PredictionLogWriter
from pneumonia.serving.login import LoginService
from pneumonia.serving.prediction_store import PredictionStore
from pneumonia.serving.rate_limits import ClientRateLimiter
from pneumonia.serving.recording import PredictionRecorder
from pneumonia.serving.security import SecurityMiddleware
from pneumonia.serving.sessions import SessionCookieMiddleware, Sessions
from pneumonia.serving.settings import AppSettings
from pneumonia.serving.telemetry import ServiceMetrics, TelemetryMiddleware
from pneumonia.serving.uploads import MemoryBudget

STATIC = Path(__file__).parent / "static"
DESCRIPTION = "Pneumonia on chest radiographs of children. Research software, not a medical device."


def create_app(settings: AppSettings) -> FastAPI:
    """Return an application with its model loaded and its database migrated.

    Raises:
        PneumoniaError: authentication is missing, or key files, databases or the model cannot be used.
    """
    settings.require_authentication()
    limits = settings.limits
    sessions = Sessions(settings.session_seconds)
    attempts = ClientRateLimiter(limits.logins_per_minute, "login attempts or wrong API keys")
    keys = ApiKeys(settings.key_file)
    login_service = LoginService(settings.password_file, attempts, sessions)
    metrics = ServiceMetrics()
    images = ImageCache(settings.image_cache_bytes, settings.image_cache_seconds)
    active = ActiveModel(
        lambda: resolve.resolve_bundle(settings.project, settings.bundle),
        lambda changed: metrics.set_model(responses.describe_model(changed.model), failed=changed.failure is not None),
    )
    store = PredictionStore(settings.database_url, pseudonyms.load_or_create_key(settings.state))
    log_writer = PredictionLogWriter(Log(settings.log_url), metrics.log_failures)
    batcher = InferenceBatcher(
        active,
        Limits(limits.file_bytes, limits.pixels),
        queue_size=settings.queue_size,
        batch_size=settings.batch_size,
        workers=os.cpu_count() or 1,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        active.start_polling(settings.model_poll_seconds)
        yield
        active.stop_polling()
        batcher.close()
        store.close()
        log_writer.close()

    app = FastAPI(
        title="pneumonia",
        version=metadata.version("pneumonia"),
        description=DESCRIPTION,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # FastAPI's documentation pages load scripts from another host
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.batcher = batcher
    app.state.store = store
    app.state.log_writer = log_writer
    app.state.images = images
    app.state.metrics = metrics
    app.state.upload_budget = MemoryBudget(limits.pending_bytes)
    app.state.recorder = PredictionRecorder(store, log_writer, metrics, images, settings.keep_images)
    app.state.login = login_service
    for router in (api.router, api.operations, login.router, pages.router, downloads.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    problems.add_exception_handlers(app)
    # The middleware that is added last is the outermost.
    app.add_middleware(problems.UnhandledErrorMiddleware)
    app.add_middleware(BodyLimitMiddleware, limits=limits)
    app.add_middleware(SecurityMiddleware, settings=settings, keys=keys, sessions=sessions, attempts=attempts)
    app.add_middleware(SessionCookieMiddleware, max_age=settings.session_seconds)
    app.add_middleware(TelemetryMiddleware, metrics=metrics)
    return app
