"""Stage *evaluate*: every model on validation and on the test set, with the operating point chosen before."""

import json
from pathlib import Path

import pandas as pd

from pipeline import runs, stage
from pneumonia import config, tracking
from pneumonia.evaluation import figures, metrics
from pneumonia.images import store as images
from pneumonia.inference.predictor import Predictor
from pneumonia.labels import CLASS_NAMES
from pneumonia.models import bundle as bundles

IMAGES = Path("artifacts/images")
BUNDLES = Path("artifacts/models")
METRICS = Path("reports/metrics.json")
PREDICTIONS = Path("reports/predictions")
PLOTS = Path("reports/plots")
FIGURES = Path("reports/figures")
SUBSETS = ("validation", "test")


def main(params: config.Params) -> None:
    """Write metrics, predictions per image, plot tables and pictures, and put them into the models' MLflow runs."""
    data = images.read(IMAGES)
    scores = {name: _score(BUNDLES / name, data, params.evaluate.batch_size) for name in params.train.models}
    results = {
        name: {
            subset: metrics.binary_metrics(s.targets, s.probabilities, s.threshold) for subset, s in subsets.items()
        }
        for name, subsets in scores.items()
    }
    METRICS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    pictures = _draw(scores)
    store = tracking.open_store(Path())
    for name in scores:
        predictions = _write_tables(name, scores[name], data)
        run_id = runs.ensure(store, bundles.read(BUNDLES / name))
        tracking.log_evaluation(store, run_id, results[name], [predictions, *pictures])
    print(_table(results))


def _score(folder: Path, data: images.ImageStore, batch_size: int) -> dict[str, figures.Scores]:
    predictor = Predictor.load(folder)
    scores = {}
    for subset in SUBSETS:
        rows = data.rows(subset)
        targets = data.index["label"].iloc[rows].map(CLASS_NAMES.index).to_numpy(int)
        answered = predictor.probabilities(data.images[rows], batch_size)
        scores[subset] = figures.Scores(targets, answered, predictor.bundle.card.threshold)
    return scores


def _draw(scores: dict[str, dict[str, figures.Scores]]) -> list[Path]:
    pictures = {
        "roc": figures.roc_figure(scores),
        "pr": figures.pr_figure(scores),
        "confusion": figures.confusion_figure(scores),
    }
    for name, picture in pictures.items():
        figures.save(picture, FIGURES / f"{name}.png")
    return [FIGURES / f"{name}.png" for name in pictures]


def _write_tables(name: str, scores: dict[str, figures.Scores], data: images.ImageStore) -> Path:
    predictions = pd.concat(
        data.index.iloc[data.rows(subset)][["path", "subset", "label", "cause", "group"]].assign(
            probability=s.probabilities.round(6), predicted=figures.confusion_table(s)["predicted"].to_numpy()
        )
        for subset, s in scores.items()
    )
    tables = {
        PREDICTIONS: predictions,
        PLOTS / "roc": figures.roc_table(scores["test"]),
        PLOTS / "pr": figures.pr_table(scores["test"]),
        PLOTS / "confusion": figures.confusion_table(scores["test"]),
    }
    for folder, table in tables.items():
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / f"{name}.csv", index=False)
    return PREDICTIONS / f"{name}.csv"


def _table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    columns = ("roc_auc", "accuracy", "sensitivity", "specificity")
    frame = pd.DataFrame(
        {(name, subset): values for name, subsets in results.items() for subset, values in subsets.items()}
    )
    return frame.T[list(columns)].to_string(float_format="{:.4f}".format)


if __name__ == "__main__":
    stage.run(main)
