"""Stage *evaluate*: evaluate one model on validation and test images, with everything chosen before."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline import stage
from pipeline.params import Params
from pneumonia.arrays import store
from pneumonia.arrays.store import ImageStore
from pneumonia.core import files, paths
from pneumonia.evaluation import aspect_swapped, evaluate, figures, slices
from pneumonia.evaluation.evaluate import ScoredImages
from pneumonia.evaluation.prediction_table import predictions_table
from pneumonia.inference.runtime import Runtime

SUMMARY = ("roc_auc", "accuracy", "sensitivity", "specificity", "ece")
"""What `dvc metrics show` prints, one row per model and subset; reports/metrics/ has all metrics."""


def main(params: Params, name: str) -> None:
    """Write the evaluation report, metrics, predictions and plot tables of a model."""
    data, metadata = store.read(paths.IMAGES), pd.read_parquet(paths.HEADER_METADATA)
    runtime = Runtime.load(paths.BUNDLES / name)
    card = runtime.bundle.card
    subsets = score(runtime, data, metadata, params.evaluate.batch_size)
    report = evaluate.evaluate(card, subsets, size_cuts(data, metadata), params.evaluate)
    files.write_json(paths.EVALUATION_REPORTS / f"{name}.json", report)
    metrics = evaluate.measure(card, subsets)
    files.write_json(paths.METRICS / f"{name}.json", metrics)
    for subset, values in metrics.subsets():
        files.write_json(paths.SUMMARY / name / f"{subset}.json", {key: round(values[key], 4) for key in SUMMARY})
    files.write_csv(paths.PREDICTIONS / f"{name}.csv", predictions_table(card, subsets))
    test = subsets["test"].scores(card)
    tables = {
        "roc": figures.roc_table(test),
        "pr": figures.pr_table(test),
        "confusion": figures.confusion_table(test),
    }
    for plot, table in tables.items():
        files.write_csv(paths.PLOTS / plot / f"{name}.csv", table)
    print(evaluate.headlines({name: report}))


def score(runtime: Runtime, data: ImageStore, metadata: pd.DataFrame, batch_size: int) -> dict[str, ScoredImages]:
    """Return the logits of a model for validation images, the same images aspect-swapped, and test images."""

    def scored(subset: str, pixels: NDArray[np.uint8]) -> ScoredImages:
        return ScoredImages.of(data.index.iloc[data.rows(subset)], runtime.logits(pixels, batch_size), metadata)

    return {
        "validation": scored("validation", data.images[data.rows("validation")]),
        "aspect_swapped": scored("validation", aspect_swapped.validation(data, metadata)),
        "test": scored("test", data.images[data.rows("test")]),
    }


def size_cuts(data: ImageStore, metadata: pd.DataFrame) -> tuple[float, float]:
    """Return the megapixels between small, medium and large images, from the development images."""
    development = data.index[data.index["subset"] != "test"]
    return slices.size_cuts(metadata.loc[development["path"]])


if __name__ == "__main__":
    stage.run_for_model(main)
