"""The reports that the promotion gate reads, on a bundle whose quality a test chooses."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.params import load
from pneumonia.audit.audit_report import AuditLimits, DataAudit, ModelAudit, Outcome
from pneumonia.bundle.bundle import Bundle
from pneumonia.core import files
from pneumonia.core.estimate import Estimate
from pneumonia.evaluation import evaluate
from pneumonia.evaluation.evaluate import ScoredImages
from pneumonia.evaluation.prediction_table import predictions_table
from pneumonia.evaluation.settings import BootstrapParams
from pneumonia.registry.promotion_evidence import evidence_files
from pneumonia.registry.registration_report import Registration

PARAMS = load(Path(__file__).parents[2] / "params.yaml")
EVALUATE = PARAMS.evaluate.model_copy(update={"bootstrap": BootstrapParams(resamples=200, seed=1)})


def write(reports: Path, bundle: Bundle, *, gain: float = 4.0, images: int = 400, audit: str = "pass") -> Path:
    """Write the evidence on a bundle, and return its folder.

    Args:
        reports: folder like reports/.
        bundle: that the reports are about.
        gain: mean distance of the logits from zero, on the correct side; their standard deviation is 1.5.
        images: number of test images, two per patient.
        audit: verdict of the shortcut audit.
    """
    card = bundle.card
    rng = np.random.default_rng(0)
    cause = rng.choice(["normal", "bacteria", "virus"], images)
    index = pd.DataFrame(
        {
            "path": [f"test/{i}.png" for i in range(images)],
            "label": np.where(cause == "normal", "NORMAL", "PNEUMONIA"),
            "cause": cause,
            "group": np.arange(images) // 2,
        }
    )
    metadata = pd.DataFrame(
        {"megapixels": rng.uniform(1, 3, images), "mode": "L", "jpeg_quality": 75.0}, index["path"]
    )
    logits = rng.normal(np.where(index["label"] == "PNEUMONIA", gain, -gain), 1.5)
    subsets = {"test": ScoredImages.of(index, logits, metadata)}
    paths = evidence_files(card.name)
    registration = Registration(
        name="pneumonia-classifier",
        alias="challenger",
        model=card.name,
        subset="aspect_swapped",
        metric="roc_auc",
        metrics={"roc_auc": 0.9},
        source=card.data.source,
        data_hash=card.data.data_hash,
        bundle_sha256=card.sha256,
    )
    files.write_json(reports / paths.registration, registration)
    files.write_json(reports / paths.evaluation, evaluate.evaluate(card, subsets, (1.5, 2.5), EVALUATE))
    files.write_json(reports / paths.data_audit, data_audit())
    files.write_json(reports / paths.model_audit, model_audit(Outcome(audit)))
    files.write_csv(reports / paths.predictions, predictions_table(card, subsets))
    return reports


def data_audit(*, alarm: bool = False) -> DataAudit:
    """Return the audit of a dataset, without its predictors."""
    return DataAudit(alarm=alarm, limit=0.64, border=0.05, level=0.95, images={}, patients={}, predictors={})


def model_audit(verdict: Outcome) -> ModelAudit:
    """Return the audit of a model, without its details."""
    limits = {name: getattr(PARAMS.audit, name) for name in AuditLimits.model_fields}
    return ModelAudit(
        verdict=verdict,
        images=0,
        patients=0,
        auc=Estimate(0.9),
        matched={},
        correlations={},
        perturbations={},
        limits=AuditLimits(**limits),
    )
