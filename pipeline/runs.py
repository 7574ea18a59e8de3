"""The MLflow run of a bundle, with what training has left in reports/."""

from pathlib import Path

from pneumonia import tracking
from pneumonia.models.bundle import Bundle

TRAIN_REPORTS = Path("reports/train")
HISTORY = "history.csv"
CURVES = "curves.png"


def ensure(store: tracking.Store, bundle: Bundle) -> str:
    """Return the id of the bundle's run; a store that does not know it gets it again from bundle and reports."""
    reports = TRAIN_REPORTS / bundle.card.name
    return tracking.ensure_run(store, bundle, reports / HISTORY, [reports / HISTORY, reports / CURVES])
