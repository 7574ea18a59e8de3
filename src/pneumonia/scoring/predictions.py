"""Predictions for a list of image files, as `pneumonia predict` prints them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

from pneumonia.bundle.bundle import Card
from pneumonia.core.model import FrozenModel
from pneumonia.inference import image_files
from pneumonia.inference.image_files import UNREADABLE, Examined
from pneumonia.inference.runtime import Runtime
from pneumonia.monitoring.record import ModelIdentity
from pneumonia.registry.resolve import ResolvedBundle
from pneumonia.scoring.prediction_logging import open_log

DECIMALS = 6


class ModelSummary(FrozenModel):
    """The model that makes predictions.

    Attributes:
        name: name of the model in params.yaml.
        origin: where the bundle comes from, as text.
        data: source and release of the training data.
        threshold: operating point, a probability.
        bundle_sha256: identity of the bundle, shortened.
    """

    name: str
    origin: str
    data: str
    threshold: float
    bundle_sha256: str

    @classmethod
    def of(cls, card: Card, origin: str) -> "ModelSummary":
        """Return the summary of a bundle by its card."""
        return cls(
            name=card.name,
            origin=origin,
            data=f"{card.data.source} {card.data.release}".strip(),
            threshold=round(card.threshold, DECIMALS),
            bundle_sha256=card.sha256[:12],
        )


class FilePrediction(FrozenModel):
    """The prediction for one file.

    Attributes:
        id: identifier of the prediction, also in the log.
        file: name of the file.
        decision: NORMAL, PNEUMONIA, INDETERMINATE, REFUSED or UNREADABLE.
        probability: calibrated probability of PNEUMONIA, 0 to 1; None unless answered.
        indeterminate: whether the decision is INDETERMINATE; None unless answered.
        reason: why there is no answer; empty if there is one.
    """

    id: UUID
    file: str
    decision: str
    probability: float | None
    indeterminate: bool | None
    reason: str

    @classmethod
    def of(cls, result: Examined, identifier: UUID) -> "FilePrediction":
        """Return the prediction of a file that was examined."""
        answer = result.answer
        return cls(
            id=identifier,
            file=result.name,
            decision=result.decision,
            probability=None if answer is None else round(answer.probability, DECIMALS),
            indeterminate=None if answer is None else answer.indeterminate,
            reason="" if answer or result.refusal is None else result.refusal.reason,
        )

    @property
    def is_unreadable(self) -> bool:
        """Whether the file could not be decoded."""
        return self.decision == UNREADABLE


def predict_files(
    runtime: Runtime, resolved: ResolvedBundle, images: Iterable[Path], log: str | None
) -> Iterator[FilePrediction]:
    """Yield the prediction for each file, in order, and log it.

    Args:
        runtime: the model.
        resolved: the bundle of ``runtime``.
        images: image files.
        log: SQLAlchemy URL of the prediction log; an empty string for the default one, None to log nothing.
    """
    model = ModelIdentity.of(runtime.bundle.card, resolved.version)
    with open_log(model, log, "cli") as log_predictions:
        for batch in image_files.examine(runtime, map(str, images), lambda name: Path(name).read_bytes()):
            ids = [uuid4() for _ in batch]
            log_predictions(batch, ids)
            yield from map(FilePrediction.of, batch, ids)
