"""Performance of a model before deployment, which its performance in use is compared with."""

from pathlib import Path

from pneumonia.bundle.bundle import Card
from pneumonia.core.model import FrozenModel
from pneumonia.registry import resolve


class Baseline(FrozenModel):
    """Performance of a model before deployment.

    Attributes:
        metrics: value by name; ``sensitivity`` and ``specificity`` are required.
        images: number of images.
        origin: the images, as text.
    """

    metrics: dict[str, float]
    images: int
    origin: str


def find_baseline(folder: Path, card: Card, project: Path) -> Baseline:
    """Return the performance of a bundle on the test set, or on validation images if it has no evaluation report.

    Args:
        folder: folder of the bundle, which may have an evaluation report.
        card: card of the bundle.
        project: folder of the project, which may have an evaluation report of the bundle.

    Raises:
        EvidenceError: the evaluation report is of another version.
    """
    report = resolve.evaluation_report(folder, card, project)
    if report is None:
        images = sum(card.data.counts.get("validation", {}).values())
        return Baseline(metrics=dict(card.validation), images=images, origin=f"validation images of {card.name}")
    test = report.subsets["test"]
    metrics = {name: estimate.value for name, estimate in test.figures.items()}
    return Baseline(metrics=metrics, images=sum(test.images.values()), origin=f"the test set of {card.name}")
