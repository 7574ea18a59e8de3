"""A project's reports/ on drawn answers, as the stages of the pipeline would write them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumonia.config import BootstrapParams, EvaluateParams
from pneumonia.evaluation import judgement
from pneumonia.labels import CLASS_NAMES
from pneumonia.models.bundle import Band, Card
from pneumonia.models.calibration import Calibration
from tests.cards import card

PARAMS = EvaluateParams(
    batch_size=1, bootstrap=BootstrapParams(resamples=200, seed=1), prevalences=[0.2], minimum_slice=20
)
SUBSETS = ("validation", "swapped", "test")
BAND = Band(0.4, 0.6)


@dataclass(frozen=True)
class Reports:
    """What is drawn.

    Attributes:
        models: by name how far apart a model's mean logits of the classes are, over 2.
        challenger: the registered one.
        images: of each subset.
        first: number of the first image, so that two sets of images overlap as far as wanted.
        data_hash: of the images.
        name: of an image file, given its number.
        seed: of the noise in the answers; the images do not depend on it.
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
        facts = pd.DataFrame(
            {"megapixels": np.where(index["group"] % 3 == 0, 0.5, 3.0), "mode": "L", "jpeg_quality": 75.0}
        ).set_index(index["path"])
        reports = root / "reports"
        (reports / "predictions").mkdir(parents=True, exist_ok=True)
        metrics = {}
        for model, gain in self.models.items():
            seen = {name: judgement.Subset.of(index, self._logits(index, name, gain), facts) for name in SUBSETS}
            judged = judgement.judge(_card(model), seen, (1.0, 2.0), PARAMS)
            write_json(reports / f"judgement/{model}.json", judged)
            predictions(_card(model), index, seen).to_csv(reports / f"predictions/{model}.csv", index=False)
            metrics[model] = {
                name: {figure: found["value"] for figure, found in told["figures"].items()}
                for name, told in judged["subsets"].items()
            }
        write_json(reports / "metrics.json", metrics)
        registered = {"name": "pneumonia-classifier", "model": self.challenger, "source": "kermany"}
        write_json(reports / "registered.json", registered | {"data_hash": self.data_hash})
        audit = {"data": {"alarm": False}, "models": {model: {"verdict": self.audit} for model in self.models}}
        write_json(reports / "shortcuts.json", audit)
        counts = index["label"].value_counts().to_dict()
        write_json(reports / "download.json", {"source": "kermany", "files": 3 * self.images, "missing": []})
        write_json(reports / "validation.json", {"success": True, "quarantined": [], "counts": {"test": counts}})
        write_json(reports / "split.json", {"images": {"test": counts}})

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


def predictions(answering: Card, index: pd.DataFrame, seen: Mapping[str, judgement.Subset]) -> pd.DataFrame:
    """Return what *evaluate* writes of a model's answers: a row per image and subset."""
    tables = []
    for name, subset in seen.items():
        probabilities = answering.calibration.probabilities(subset.logits)
        tables.append(
            index.assign(
                subset=name,
                logit=subset.logits.round(6),
                probability=probabilities.round(6),
                predicted=np.where(probabilities >= answering.threshold, CLASS_NAMES[1], CLASS_NAMES[0]),
                indeterminate=answering.band.holds(probabilities),
            )
        )
    return pd.concat(tables)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
