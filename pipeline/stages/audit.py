"""Stage *audit*: measure whether one model uses the shortcuts that the dataset offers."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline import stage
from pipeline.params import Params
from pneumonia.arrays import store
from pneumonia.arrays.store import ImageStore
from pneumonia.audit import model_shortcuts
from pneumonia.audit.audit_report import ModelAudit
from pneumonia.core import files, paths
from pneumonia.inference.runtime import Runtime


def main(params: Params, name: str) -> None:
    """Write the audit of a model."""
    report = audit(
        Runtime.load(paths.BUNDLES / name), store.read(paths.IMAGES), pd.read_parquet(paths.HEADER_METADATA), params
    )
    files.write_json(paths.MODEL_AUDITS / f"{name}.json", report)
    print(f"{name}: {report.verdict}")


def audit(runtime: Runtime, data: ImageStore, metadata: pd.DataFrame, params: Params) -> ModelAudit:
    """Audit a model on the test images."""
    card = runtime.bundle.card

    def score(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        logits = runtime.logits(pixels, params.evaluate.batch_size)
        return logits, card.calibration.probabilities(logits)

    rows = data.rows("test")
    return model_shortcuts.audit(
        score,
        data.images[rows],
        data.index.iloc[rows],
        metadata,
        card.threshold,
        params.audit,
        params.evaluate.bootstrap,
    )


if __name__ == "__main__":
    stage.run_for_model(main)
