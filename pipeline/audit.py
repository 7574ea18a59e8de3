"""Stage *audit*: what shortcuts the data allows, and what each model does with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import facts as header
from pipeline import stage
from pneumonia import config
from pneumonia.evaluation import figures, shortcuts_data, shortcuts_figures, shortcuts_model, shortcuts_report
from pneumonia.images import store as images
from pneumonia.inference.predictor import Predictor

IMAGES = Path("artifacts/images")
BUNDLES = Path("artifacts/models")
REPORT = Path("reports/shortcuts.json")
PAGE = Path("reports/shortcuts.md")
FIGURES = Path("reports/figures")


def main(params: config.Params) -> None:
    """Write both verdicts as JSON, as a page and as pictures."""
    data = images.read(IMAGES)
    facts = header.of(data)
    told = shortcuts_data.audit(data.images, data.index, facts, params.audit, params.evaluate.bootstrap)
    test = data.rows("test")
    models = {
        name: audit_model(BUNDLES / name, data.images[test], data.index.iloc[test], facts, params)
        for name in params.train.models
    }
    report = shortcuts_report.assemble(told, models, params.audit)
    stage.write_json(REPORT, report)
    PAGE.write_text(shortcuts_report.markdown(report), encoding="utf-8")
    pictures = {
        "data": shortcuts_figures.data_figure(told),
        "models": shortcuts_figures.model_figure(models, report["limits"]),
        "perturbations": shortcuts_figures.perturbation_figure(params.prepare.size),
    }
    for name, picture in pictures.items():
        figures.save(picture, FIGURES / f"shortcuts_{name}.png")
    print(f"Data: {'ALARM, the classes can be told apart without a lung' if told['alarm'] else 'no alarm'}")
    for name, model in models.items():
        print(f"{name}: {model['verdict']}")
    print(f"Why: {PAGE}")


def audit_model(
    folder: Path, pixels: np.ndarray, index: pd.DataFrame, facts: pd.DataFrame, params: config.Params
) -> dict[str, Any]:
    """Judge the model of a bundle on test images."""
    predictor = Predictor.load(folder)
    return shortcuts_model.audit(
        _scorer(predictor, params.evaluate.batch_size),
        pixels,
        index,
        facts,
        predictor.bundle.card.threshold,
        params.audit,
        params.evaluate.bootstrap,
    )


def _scorer(predictor: Predictor, batch_size: int) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    def score(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits = predictor.logits(pixels, batch_size)
        return logits, predictor.bundle.card.calibration.probabilities(logits)

    return score


if __name__ == "__main__":
    stage.run(main)
