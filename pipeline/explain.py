"""Stage *explain*: what the models look at, in pictures of chosen test images, and on phantoms the pointing game.

Evidence is told against what NORMAL validation images have at the same place: a network that is sure of pneumonia
because it finds no clear lung has no place that speaks for pneumonia by itself.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pipeline import runs, stage
from pneumonia import config, tracking
from pneumonia.data import phantom
from pneumonia.evaluation import figures, pointing
from pneumonia.images import store as images
from pneumonia.inference import overlay, reference
from pneumonia.inference.explain import SMALLEST_SCALE, Explainer
from pneumonia.inference.predictor import Predictor
from pneumonia.labels import POSITIVE

IMAGES = Path("artifacts/images")
BUNDLES = Path("artifacts/models")
PREDICTIONS = Path("reports/predictions")
PICTURES = Path("artifacts/explanations")
REPORT = Path("reports/explanations.json")

Masks = NDArray[np.bool_]


def main(params: config.Params) -> None:
    """Write a picture per case and model, what was chosen and why, and how well the maps point."""
    data = images.read(IMAGES)
    truth = _Truth(params.data.phantom, data) if data.source == "phantom" else None
    store = tracking.open_store(Path())
    shutil.rmtree(PICTURES, ignore_errors=True)
    report = {}
    for name in params.train.models:
        predictor = Predictor.load(BUNDLES / name)
        explainer = Explainer(predictor.model)
        cases = _choose_cases(name, predictor.bundle.card.threshold, params.explain.cases)
        normal = reference.read(predictor.bundle).normal_evidence
        pictures = _draw_cases(name, cases, data, explainer, normal, truth)
        report[name] = {
            "pointing_game": truth.play(explainer, normal, params.evaluate) if truth else NOT_APPLICABLE,
            "cases": [
                {
                    "rule": case.rule,
                    "picture": picture.name,
                    "path": case.path,
                    "label": case.label,
                    "probability": case.probability,
                }
                for case, picture in zip(cases.itertuples(), pictures, strict=True)
            ],
        }
        with tracking.explain_refusals():
            tracking.Run(store, runs.ensure(store, predictor.bundle)).log_files(pictures, "explanations")
        print(f"{name}: {len(pictures)} pictures in {PICTURES / name}; {_describe(report[name]['pointing_game'])}")
    stage.write_json(REPORT, {"rules": RULES, "models": report})


NOT_APPLICABLE = {"played": False, "reason": "the lesions of this source are not known"}

RULES = {
    "confident_pneumonia": "PNEUMONIA, called so, with the highest probability",
    "confident_normal": "NORMAL, called so, with the lowest probability",
    "worst_false_positive": "NORMAL, called PNEUMONIA, with the highest probability",
    "worst_false_negative": "PNEUMONIA, called NORMAL, with the lowest probability",
    "closest_to_threshold": "any, with the probability closest to the operating point",
}
"""How the cases are chosen from the test set; of equals, the first by path."""


def _choose_cases(model: str, threshold: float, count: int) -> pd.DataFrame:
    """Return up to ``count`` test images per rule: columns rule, path, label and probability."""
    predictions = pd.read_csv(PREDICTIONS / f"{model}.csv").query("subset == 'test'").sort_values("path")
    ill, called = predictions["label"] == POSITIVE, predictions["predicted"] == POSITIVE
    logit = predictions["logit"]  # in the order of the probabilities, with fewer ties
    distances = {
        "confident_pneumonia": -logit[ill & called],
        "confident_normal": logit[~ill & ~called],
        "worst_false_positive": -logit[~ill & called],
        "worst_false_negative": logit[ill & ~called],
        "closest_to_threshold": (predictions["probability"] - threshold).abs(),
    }
    chosen = [
        predictions.loc[distances[rule].sort_values(kind="stable").index[:count]].assign(rule=rule) for rule in RULES
    ]
    return pd.concat(chosen)[["rule", "path", "label", "probability"]]


def _draw_cases(
    model: str,
    cases: pd.DataFrame,
    data: images.ImageStore,
    explainer: Explainer,
    normal: NDArray[np.float32],
    truth: "_Truth | None",
) -> list[Path]:
    """Draw the cases of one model, all on one scale of evidence, and return the files.

    All but the strongest hundredth of all places stay below the strongest colour, so that the differences show.
    """
    rows = pd.Index(data.index["path"]).get_indexer(cases["path"])
    pixels = data.images[rows]
    evidence = explainer.evidence(pixels) - normal
    scale = max(float(np.quantile(evidence, 0.99)), SMALLEST_SCALE)
    files = []
    for position, case in enumerate(cases.itertuples()):
        number = int((cases["rule"].iloc[:position] == case.rule).sum()) + 1
        figure = overlay.draw(
            pixels[position],
            evidence[position],
            scale=scale,
            title=f"{model}, {case.rule.replace('_', ' ')}: {case.label}, probability {case.probability:.3f}",
            lesion=truth.lesion(case.path) if truth else None,
        )
        files.append(PICTURES / model / f"{case.rule}_{number}.png")
        figures.save(figure, files[-1])
    return files


class _Truth:
    """Where the lesions of a phantom set are, drawn anew."""

    def __init__(self, params: config.PhantomParams, data: images.ImageStore) -> None:
        self._params = params
        self._cases = {case.path: case for case in phantom.plan(params)}
        self._data = data
        self._size = data.images.shape[1]

    def lesion(self, path: str) -> Masks:
        return self._stretch(self._cases[path].draw(self._params).lesion)

    def play(self, explainer: Explainer, normal: NDArray[np.float32], params: config.EvaluateParams) -> dict[str, Any]:
        """Play the pointing game on the ill of the test set."""
        index = self._data.index
        rows = np.flatnonzero((index["subset"] == "test") & (index["label"] == POSITIVE))
        drawn = [self._cases[path].draw(self._params) for path in index["path"].iloc[rows]]
        lesions = np.stack([self._stretch(one.lesion) for one in drawn])
        lungs = np.stack([self._stretch(one.lungs) for one in drawn])
        evidence = explainer.evidence(self._data.images[rows], batch_size=params.batch_size) - normal
        hit = pointing.hits(evidence, lesions)
        groups, causes = (index[column].iloc[rows].to_numpy() for column in ("group", "cause"))
        return {
            "played": True,
            "tolerance": pointing.TOLERANCE,
            "hits": pointing.summarise(hit, groups, causes, params.bootstrap),
            "chance": pointing.chance(lesions, lungs),
        }

    def _stretch(self, mask: Masks) -> Masks:
        """Stretch a mask to the square that its image is decoded to."""
        size = (self._size, self._size)
        return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _describe(game: dict[str, Any]) -> str:
    if not game["played"]:
        return f"no pointing game, since {game['reason']}"
    share, chance = game["hits"]["all"]["value"], game["chance"]["lungs"]
    return f"{share:.2f} of the maps point into the lesion ({chance:.2f} by chance in the lungs)"


if __name__ == "__main__":
    stage.run(main)
