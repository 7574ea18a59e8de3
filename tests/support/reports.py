"""The reports/ of a project with drawn logits, as the stages of the pipeline would write them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumonia.audit.audit_report import Outcome
from pneumonia.bundle.bundle import Band, Card
from pneumonia.bundle.calibration import Calibration
from pneumonia.core import files, paths
from pneumonia.core.labels import CLASS_NAMES
from pneumonia.evaluation import evaluate
from pneumonia.evaluation.evaluate import ScoredImages
from pneumonia.evaluation.prediction_table import predictions_table
from pneumonia.evaluation.settings import BootstrapParams, EvaluateParams
from pneumonia.registry.registration_report import Registration
from tests.support.cards import card
from tests.support.evidence import data_audit, model_audit

PARAMS = EvaluateParams(
    batch_size=1, bootstrap=BootstrapParams(resamples=200, seed=1), prevalences=[0.2], minimum_slice=20
)
SUBSETS = ("validation", "aspect_swapped", "test")
BAND = Band(0.4, 0.6)


@dataclass(frozen=True)
class Reports:
    """The reports of a project.

    Attributes:
        models: by name, half the distance between the mean logits of the classes.
        challenger: the registered model.
        images: number of images of each subset.
        first: number of the first image, which determines how two sets of images overlap.
        data_hash: of the images.
        name: file name of an image, given its number.
        seed: of the logits; the images do not depend on it.
        audit: verdict of the shortcut audit of all models.
    """

    models: Mapping[str, float] = field(default_factory=lambda: {"cnn": 2.0, "probe": 1.0})
    challenger: str = "cnn"
    images: int = 160
    first: int = 0
    data_hash: str = "d1" * 32
    name: str = "{}.png"
    seed: int = 0
    audit: str = "pass"

    def write(self, root: Path) -> None:
        """Write reports/ into a project."""
        index = self._index()
        metadata = pd.DataFrame(
            {"megapixels": np.where(index["group"] % 3 == 0, 0.5, 3.0), "mode": "L", "jpeg_quality": 75.0}
        ).set_index(index["path"])
        for model, gain in self.models.items():
            subsets = {name: ScoredImages.of(index, self._logits(index, name, gain), metadata) for name in SUBSETS}
            report = evaluate.evaluate(_card(model), subsets, (1.0, 2.0), PARAMS)
            files.write_json(root / paths.EVALUATION_REPORTS / f"{model}.json", report)
            files.write_json(root / paths.METRICS / f"{model}.json", evaluate.measure(_card(model), subsets))
            files.write_csv(root / paths.PREDICTIONS / f"{model}.csv", predictions_table(_card(model), subsets))
            files.write_json(root / paths.MODEL_AUDITS / f"{model}.json", model_audit(Outcome(self.audit)))
        files.write_json(root / paths.DATA_AUDIT, data_audit())
        files.write_json(root / paths.REGISTRATION, self._registration())
        counts = index["label"].value_counts().to_dict()
        download = {"source": "kermany", "files": 3 * self.images, "missing": []}
        files.write_json(root / paths.DOWNLOAD_REPORT, download)
        validation = {"success": True, "quarantined": [], "counts": {"test": counts}}
        files.write_json(root / paths.VALIDATION_REPORT, validation)
        files.write_json(root / paths.SPLIT_REPORT, {"images": {"test": counts}})

    def _registration(self) -> Registration:
        return Registration(
            name="pneumonia-classifier",
            alias="challenger",
            model=self.challenger,
            subset="aspect_swapped",
            metric="roc_auc",
            metrics={},
            source="kermany",
            data_hash=self.data_hash,
            bundle_sha256=_card(self.challenger).sha256,
        )

    def _index(self) -> pd.DataFrame:
        number = np.arange(self.first, self.first + self.images)
        cause = np.array(["normal", "bacteria", "normal", "virus"])[number % 4]
        return pd.DataFrame(
            {
                "path": [self.name.format(i) for i in number],
                "label": np.where(cause == "normal", *CLASS_NAMES),
                "cause": cause,
                "group": number // 8 * 4 + number % 4,
            }
        )

    def _logits(self, index: pd.DataFrame, subset: str, gain: float) -> np.ndarray[Any, Any]:
        rng = np.random.default_rng([self.seed, SUBSETS.index(subset)])
        return rng.normal(np.where(index["label"] == CLASS_NAMES[1], gain, -gain), 1.5)


def _card(name: str) -> Card:
    return card(name=name, calibration=Calibration("platt", temperature=1.0, intercept=0.0), threshold=0.5, band=BAND)
