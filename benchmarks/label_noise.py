"""Measure how soon labels reveal a loss of performance, and the effect of wrong labels; write docs/label-monitoring.*.

    python -m benchmarks.label_noise

Draws images with replacement from the release's predictions on the official test set (release/reports), so that the
true sensitivity and specificity equal those of the reference; nothing is trained and no image is needed. A fault is
simulated after UNCHANGED labels, and the sequential test of `pneumonia feedback report` is evaluated after each label.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.params import Params, load
from pneumonia.core import markdown, paths, settings
from pneumonia.core.estimate import Estimate
from pneumonia.core.labels import POSITIVE
from pneumonia.monitoring import sequential
from pneumonia.monitoring.performance import measure, proportion
from pneumonia.monitoring.performance_estimation import estimate_metrics
from pneumonia.monitoring.retrain import CLASS_OF
from pneumonia.monitoring.settings import FeedbackParams

PREDICTIONS, EVALUATION = paths.RELEASE / "reports/predictions.csv", paths.RELEASE / "reports/evaluation.json"
TABLE, PAGE = Path("docs/label-monitoring.json"), Path("docs/label-monitoring.md")
RUNS = 200
UNCHANGED, AFTER = 500, 1000
"""Number of labels before and after a fault is simulated."""
WITHIN = (200, 500, 1000)
SEED = 1


@dataclass(frozen=True)
class Planted:
    """A simulated fault, as probabilities by image.

    Attributes:
        flipped: that a label is wrong.
        missed: that a true positive becomes a false negative.
        overcalled: that a true negative becomes a false positive.
    """

    flipped: float = 0.0
    missed: float = 0.0
    overcalled: float = 0.0


PLANTED = {
    "nothing": Planted(),
    "2% of labels wrong": Planted(flipped=0.02),
    "5% of labels wrong": Planted(flipped=0.05),
    "10% of labels wrong": Planted(flipped=0.1),
    "20% of labels wrong": Planted(flipped=0.2),
    "5% of true positives missed": Planted(missed=0.05),
    "10% of true positives missed": Planted(missed=0.1),
    "20% of true positives missed": Planted(missed=0.2),
    "40% of true positives missed": Planted(missed=0.4),
    "20% of true negatives called positive": Planted(overcalled=0.2),
    "40% of true negatives called positive": Planted(overcalled=0.4),
}


def main() -> None:
    """Simulate each fault and write both files."""
    params = load()
    feedback = settings.read_section(paths.OPERATIONS, "feedback", FeedbackParams)
    evaluation = json.loads(EVALUATION.read_text(encoding="utf-8"))
    threshold, figures = evaluation["operating_point"]["threshold"], evaluation["subsets"]["test"]["figures"]
    reference = {name: figures[name]["value"] for name in CLASS_OF}
    predictions = pd.read_csv(PREDICTIONS)
    test = predictions[predictions["subset"] == "test"]
    ill, called = (test["label"] == POSITIVE).to_numpy(), (test["probability"] >= threshold).to_numpy()
    rng = np.random.default_rng(SEED)
    rows = {
        name: _summary([_alarm(ill, called, planted, reference, feedback, rng) for _ in range(RUNS)])
        for name, planted in PLANTED.items()
    }
    estimates = {
        subset: _estimates(predictions[predictions["subset"] == subset], threshold, params)
        for subset in ("validation", "test")
    }
    results = {"reference": reference, "planted": rows, "estimates": estimates}
    TABLE.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(_page(results, feedback), encoding="utf-8")


def _alarm(
    ill: NDArray[np.bool_],
    called: NDArray[np.bool_],
    planted: Planted,
    reference: dict[str, float],
    params: FeedbackParams,
    rng: np.random.Generator,
) -> int | None:
    """Return the number of labels at the first alarm, or None without an alarm."""
    drawn = rng.integers(0, len(ill), UNCHANGED + AFTER)
    label, answer = ill[drawn], called[drawn]
    chance = rng.random((3, len(drawn)))
    late = np.arange(len(drawn)) >= UNCHANGED
    answer = answer & ~(late & label & (chance[0] < planted.missed))
    answer = answer | (late & ~label & (chance[1] < planted.overcalled))
    label = label ^ (late & (chance[2] < planted.flipped))
    first = []
    for name, positive in CLASS_OF.items():
        places = np.flatnonzero(label == (positive == POSITIVE))
        limit = reference[name] - getattr(params.tolerated_loss, name)
        right = answer[places] == label[places]
        after = sequential.check_proportion(right, limit, params.false_alarm_rate / len(CLASS_OF)).alarm_after
        first += [int(places[after - 1]) + 1] if after else []
    return min(first, default=None)


def _summary(alarms: list[int | None]) -> dict[str, Any]:
    delays = [alarm - UNCHANGED for alarm in alarms if alarm is not None and alarm > UNCHANGED]
    late = RUNS - sum(alarm is not None and alarm <= UNCHANGED for alarm in alarms)
    delay = np.array([*delays, *[np.inf] * (late - len(delays))])
    half = np.quantile(delay, 0.5, method="lower")
    return {
        "runs": RUNS,
        "before": RUNS - late,
        "within": {str(labels): proportion(delay <= labels).model_dump(mode="json") for labels in WITHIN},
        "median": None if np.isinf(half) else int(half),
    }


def _estimates(part: pd.DataFrame, threshold: float, params: Params) -> dict[str, Any]:
    shares, called = part["probability"].to_numpy(), (part["probability"] >= threshold).to_numpy()
    targets = (part["label"] == POSITIVE).to_numpy().astype(int)
    measured = measure(targets, shares, called, params.evaluate.bootstrap)
    return {
        name: {"estimated": figure.model_dump(mode="json"), "measured": measured[name].model_dump(mode="json")}
        for name, figure in estimate_metrics(shares, called).items()
    }


def _page(results: dict[str, Any], params: FeedbackParams) -> str:
    reference = results["reference"]
    lines = [
        "# Delayed labels: how soon a loss of performance is detected",
        "",
        "Command: `python -m benchmarks.label_noise`, which also writes label-monitoring.json.",
        "",
        f"Predictions of the release for the official test set, resampled {RUNS} times with replacement: sensitivity "
        f"{reference['sensitivity']:.3f} and specificity {reference['specificity']:.3f}. A loss of "
        f"{params.tolerated_loss.sensitivity:g} and {params.tolerated_loss.specificity:g} is tolerated. The first "
        f"{UNCHANGED} labels are correct; the simulated fault lasts for the next {AFTER}. The test is evaluated after "
        f"every label, with a false alarm rate of {params.false_alarm_rate:g} over all evaluations.",
        "",
        *markdown.head(
            "simulated fault",
            f"false alarms before the fault, of {RUNS} runs",
            *(f"alarm within {n} labels" for n in WITHIN),
            "median number of labels",
        ),
        *(
            markdown.row(
                name,
                str(row["before"]),
                *(_interval(row["within"][str(n)]) for n in WITHIN),
                "-" if row["median"] is None else str(row["median"]),
            )
            for name, row in results["planted"].items()
        ),
        "",
        "Wrong labels cannot be distinguished from a loss of performance. Pneumonia is the more frequent class here, "
        "so that wrong labels "
        "put more images with pneumonia among the normal ones than the reverse, and the measured "
        "specificity falls most. "
        "The report therefore recommends a review of disagreements first.",
        "",
        "## Error of the estimate without labels",
        "",
        "Sensitivity, specificity and ppv of the same model, estimated from its probabilities and measured with "
        "labels. The calibration was fitted to validation images; those of the official test set are different.",
        "",
        *markdown.head("images", "figure", "estimated", "measured", "difference"),
        *(
            markdown.row(
                subset,
                name,
                _interval(pair["estimated"]),
                _interval(pair["measured"]),
                f"{pair['estimated']['value'] - pair['measured']['value']:+.3f}",
            )
            for subset, figures in results["estimates"].items()
            for name, pair in figures.items()
        ),
        "",
    ]
    return "\n".join(lines)


def _interval(metric: dict[str, Any]) -> str:
    return markdown.interval(Estimate(metric["value"], metric["low"], metric["high"]))


if __name__ == "__main__":
    main()
