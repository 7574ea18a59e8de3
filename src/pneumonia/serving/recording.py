"""Storage of new predictions: database, prediction log, metrics and image cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pneumonia.inference.intake import Intake
from pneumonia.serving import responses
from pneumonia.serving.batching import ImageResult
from pneumonia.serving.image_cache import CachedImage, ImageCache, encode_png
from pneumonia.serving.log_writer import PredictionLogWriter
from pneumonia.serving.prediction_store import PredictionEntry, PredictionStore
from pneumonia.serving.telemetry import ServiceMetrics


@dataclass(frozen=True)
class PredictionRecorder:
    """Stores new predictions.

    Attributes:
        store: prediction database.
        log: prediction log.
        metrics: Prometheus metrics.
        images: image cache of the page.
        keep_images: folder for the decoded pixels of every image; None to store none.
    """

    store: PredictionStore
    log: PredictionLogWriter
    metrics: ServiceMetrics
    images: ImageCache
    keep_images: Path | None

    def record(self, entries: Sequence[PredictionEntry], results: Sequence[ImageResult]) -> None:
        """Store the predictions of one request; entries and results are in the same order."""
        self.store.add(entries)
        pairs = [(entry.prediction, result) for entry, result in zip(entries, results, strict=True)]
        self.log.add_records([responses.make_log_record(result, prediction) for prediction, result in pairs])
        for prediction, result in pairs:
            self.metrics.observe(prediction)
            if result.intake:
                self.images.put(prediction.id, CachedImage.from_intake(prediction.file, result.model, result.intake))
                if self.keep_images:
                    _write_pixels(self.keep_images / f"{prediction.id}.png", result.intake)


def _write_pixels(file: Path, intake: Intake) -> None:
    """Write the decoded pixels, without metadata; only the owner may read them."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.touch(0o600)
    file.write_bytes(encode_png(intake.pixels))
