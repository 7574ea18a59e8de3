"""The application, put together."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from pneumonia import serving
from pneumonia.app import answers, api, monitoring, pages, problems, secret, security
from pneumonia.app.access import Keys
from pneumonia.app.bodies import BodyLimits
from pneumonia.app.engine import Engine
from pneumonia.app.export import router as export_router
from pneumonia.app.logbook import Logbook
from pneumonia.app.settings import Settings
from pneumonia.app.shelf import Shelf
from pneumonia.app.store import Store
from pneumonia.app.swap import CurrentModel
from pneumonia.app.uploads import Budget
from pneumonia.inference.intake import Limits
from pneumonia.monitoring.log import Log

STATIC = Path(__file__).parent / "static"
DESCRIPTION = "Answers for chest radiographs of children. Research software, not a medical device."


def create_app(settings: Settings) -> FastAPI:
    """Return the application, its model loaded and its database ready.

    Raises:
        PneumoniaError: it cannot start as asked.
    """
    settings.refuse_an_open_door()
    limits = settings.limits
    sessions = security.Sessions(settings.session_seconds)
    attempts = security.Attempts(limits.logins_per_minute)
    metrics = monitoring.Metrics()
    keys = Keys(settings.key_file)
    store = Store(settings.database_url, secret.load_or_make(settings.state))
    logbook = Logbook(Log(settings.log_url), metrics.log_failures)
    login = security.login_router(settings, sessions, attempts)
    current = CurrentModel(
        lambda: serving.choose(settings.project, settings.bundle),
        lambda current: metrics.show_model(answers.facts(current.model), failed=current.failure is not None),
    )
    engine = Engine(
        current,
        Limits(limits.file_bytes, limits.pixels),
        places=settings.queue,
        batch=settings.batch,
        workers=os.cpu_count() or 1,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        current.watch(settings.watch_seconds)
        yield
        current.stop()
        engine.close()
        store.close()
        logbook.close()

    app = FastAPI(
        title="pneumonia",
        version=metadata.version("pneumonia"),
        description=DESCRIPTION,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # their scripts come from another host
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.engine = engine
    app.state.store = store
    app.state.logbook = logbook
    app.state.shelf = Shelf(settings.shelf_bytes, settings.shelf_seconds)
    app.state.metrics = metrics
    app.state.budget = Budget(limits.pending_bytes)
    for router in (api.router, api.service, login, pages.router, export_router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    problems.install(app)
    # The last one stands in front.
    app.add_middleware(problems.Catch)
    app.add_middleware(BodyLimits, limits=limits)
    app.add_middleware(security.Guard, settings=settings, keys=keys, sessions=sessions, attempts=attempts)
    app.add_middleware(monitoring.Watch, metrics=metrics)
    return app
