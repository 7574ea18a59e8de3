"""Shared services of the routes, injected by FastAPI; `serving.main` puts them into the application's state.

The functions are coroutines because FastAPI would run plain functions in a thread pool.
"""

from typing import Annotated

from fastapi import Depends, Request

from pneumonia.serving.active_model import ActiveModel
from pneumonia.serving.batching import InferenceBatcher
from pneumonia.serving.image_cache import ImageCache
from pneumonia.serving.log_writer import PredictionLogWriter
from pneumonia.serving.prediction_store import PredictionStore
from pneumonia.serving.recording import PredictionRecorder
from pneumonia.serving.settings import AppSettings
from pneumonia.serving.telemetry import ServiceMetrics
from pneumonia.serving.uploads import MemoryBudget


async def get_settings(request: Request) -> AppSettings:
    """Return the application settings."""
    settings: AppSettings = request.app.state.settings
    return settings


async def get_batcher(request: Request) -> InferenceBatcher:
    """Return the queue of images to process."""
    batcher: InferenceBatcher = request.app.state.batcher
    return batcher


async def get_active_model(request: Request) -> ActiveModel:
    """Return the model in use."""
    active: ActiveModel = request.app.state.batcher.active
    return active


async def get_store(request: Request) -> PredictionStore:
    """Return the prediction database."""
    store: PredictionStore = request.app.state.store
    return store


async def get_log_writer(request: Request) -> PredictionLogWriter:
    """Return the writer of the prediction log."""
    writer: PredictionLogWriter = request.app.state.log_writer
    return writer


async def get_images(request: Request) -> ImageCache:
    """Return the image cache."""
    images: ImageCache = request.app.state.images
    return images


async def get_metrics(request: Request) -> ServiceMetrics:
    """Return the Prometheus metrics."""
    metrics: ServiceMetrics = request.app.state.metrics
    return metrics


async def get_upload_budget(request: Request) -> MemoryBudget:
    """Return the memory budget that all uploads share."""
    budget: MemoryBudget = request.app.state.upload_budget
    return budget


async def get_recorder(request: Request) -> PredictionRecorder:
    """Return what stores new predictions."""
    recorder: PredictionRecorder = request.app.state.recorder
    return recorder


SettingsDep = Annotated[AppSettings, Depends(get_settings)]
BatcherDep = Annotated[InferenceBatcher, Depends(get_batcher)]
ActiveModelDep = Annotated[ActiveModel, Depends(get_active_model)]
StoreDep = Annotated[PredictionStore, Depends(get_store)]
LogWriterDep = Annotated[PredictionLogWriter, Depends(get_log_writer)]
ImagesDep = Annotated[ImageCache, Depends(get_images)]
MetricsDep = Annotated[ServiceMetrics, Depends(get_metrics)]
UploadBudgetDep = Annotated[MemoryBudget, Depends(get_upload_budget)]
RecorderDep = Annotated[PredictionRecorder, Depends(get_recorder)]
