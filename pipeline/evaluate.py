"""Stage *evaluate*: every model judged on validation and on the test set, with all that was chosen before."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import facts as header
from pipeline import runs, stage
from pneumonia import config, tracking
from pneumonia.evaluation import figures, judgement, metrics, selection, slices
from pneumonia.evaluation.intervals import Estimate
from pneumonia.images import store as images
from pneumonia.inference.predictor import Predictor
from pneumonia.models import bundle as bundles

IMAGES = Path("artifacts/images")
BUNDLES = Path("artifacts/models")
METRICS = Path("reports/metrics.json")
COMPARISON = Path("reports/comparison.json")
JUDGEMENT = Path("reports/judgement")
PREDICTIONS = Path("reports/predictions")
PLOTS = Path("reports/plots")
FIGURES = Path("reports/figures")
SUBSETS = {"validation": "validation", "swapped": "validation", "test": "test"}
"""Which images each subset has; ``swapped`` shows those of either class in the shape of the other's."""
HEADLINES = ("roc_auc", "accuracy", "sensitivity", "specificity")


def main(params: config.Params) -> None:
    """Write metrics, judgements, predictions per image, plot tables and pictures, and log them in the MLflow runs."""
    data = images.read(IMAGES)
    facts = header.of(data)
    cuts = size_cuts(data, facts)
    cards = {name: bundles.read(BUNDLES / name).card for name in params.train.models}
    seen = {name: answers(BUNDLES / name, data, facts, params.evaluate.batch_size) for name in cards}
    scores = {name: _scores(cards[name], subsets) for name, subsets in seen.items()}
    results = {
        name: {
            subset: metrics.binary_metrics(s.targets, s.probabilities, s.threshold) for subset, s in subsets.items()
        }
        for name, subsets in scores.items()
    }
    judgements = {name: judgement.judge(cards[name], seen[name], cuts, params.evaluate) for name in cards}
    subset, metric = params.register_.subset, params.register_.metric
    best = selection.select_best({name: subsets[subset] for name, subsets in results.items()}, metric)
    comparison = judgement.compare(cards, seen, best, params.evaluate.bootstrap)
    stage.write_json(METRICS, results)
    stage.write_json(COMPARISON, {"chosen_by": f"{metric} on {subset}"} | comparison)
    pictures = _draw(scores, judgements)
    store = tracking.open_store(Path())
    for name, card in cards.items():
        stage.write_json(JUDGEMENT / f"{name}.json", judgements[name])
        table = _write_tables(card, seen[name], scores[name], data)
        run_id = runs.ensure(store, bundles.read(BUNDLES / name))
        files = [table, JUDGEMENT / f"{name}.json", COMPARISON, *pictures]
        tracking.log_evaluation(store, run_id, results[name], files)
    print(headlines(judgements))


def size_cuts(data: images.ImageStore, facts: pd.DataFrame) -> tuple[float, float]:
    """Return the megapixels between small, medium and large images, told by the development images."""
    return slices.size_cuts(facts[(data.index["subset"] != "test").to_numpy()])


def answers(
    folder: Path, data: images.ImageStore, facts: pd.DataFrame, batch_size: int
) -> dict[str, judgement.Subset]:
    """Return what the model of a bundle answers for the images of every subset, with all that is known of them."""
    predictor = Predictor.load(folder)
    seen = {}
    for name, subset in SUBSETS.items():
        rows = data.rows(subset)
        pixels = header.swapped_validation(data, facts) if name == "swapped" else data.images[rows]
        seen[name] = judgement.Subset.of(data.index.iloc[rows], predictor.logits(pixels, batch_size), facts)
    return seen


def _scores(card: bundles.Card, subsets: Mapping[str, judgement.Subset]) -> dict[str, figures.Scores]:
    return {
        name: figures.Scores(subset.targets, card.calibration.probabilities(subset.logits), card.threshold)
        for name, subset in subsets.items()
    }


def _draw(scores: dict[str, dict[str, figures.Scores]], judgements: Mapping[str, dict[str, Any]]) -> list[Path]:
    pictures = {
        "roc": figures.roc_figure(scores),
        "pr": figures.pr_figure(scores),
        "confusion": figures.confusion_figure(scores),
        "reliability": figures.reliability_figure(judgements),
    }
    for name, picture in pictures.items():
        figures.save(picture, FIGURES / f"{name}.png")
    return [FIGURES / f"{name}.png" for name in pictures]


def _write_tables(
    card: bundles.Card,
    seen: Mapping[str, judgement.Subset],
    scores: Mapping[str, figures.Scores],
    data: images.ImageStore,
) -> Path:
    tables = {
        PREDICTIONS: predictions(card, seen, data),
        PLOTS / "roc": figures.roc_table(scores["test"]),
        PLOTS / "pr": figures.pr_table(scores["test"]),
        PLOTS / "confusion": figures.confusion_table(scores["test"]),
    }
    for folder, table in tables.items():
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / f"{card.name}.csv", index=False)
    return PREDICTIONS / f"{card.name}.csv"


def predictions(card: bundles.Card, seen: Mapping[str, judgement.Subset], data: images.ImageStore) -> pd.DataFrame:
    """Return a row per image and subset: what it is, and what was answered."""
    scores = _scores(card, seen)
    return pd.concat(
        data.index.iloc[data.rows(SUBSETS[subset])][["path", "subset", "label", "cause", "group"]].assign(
            subset=subset,
            logit=seen[subset].logits.round(6),
            probability=s.probabilities.round(6),
            predicted=figures.confusion_table(s)["predicted"].to_numpy(),
            indeterminate=card.band.holds(s.probabilities),
        )
        for subset, s in scores.items()
    )


def headlines(judgements: Mapping[str, dict[str, Any]]) -> str:
    """Return the figures of note with their intervals, a line per model and subset."""
    rows = {
        (name, subset): {figure: str(Estimate(**judged["figures"][figure])) for figure in HEADLINES}
        | {"answered": str(Estimate(**judged["band"]["coverage"]))}
        for name, judgement in judgements.items()
        for subset, judged in judgement["subsets"].items()
    }
    return pd.DataFrame(rows).T.to_string()


if __name__ == "__main__":
    stage.run(main)
