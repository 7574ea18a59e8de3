"""How soon labels show that a model is worse, and what mistaken labels do; writes docs/label-monitoring.json and .md.

    python -m benchmarks.label_noise

Draws images with replacement from the release's predictions on the official test set (release/reports), so that the
true sensitivity and specificity are those of the reference exactly; nothing is trained and no image is needed. After
QUIET labels something is planted, and the sequential test of `pneumonia feedback report` is looked at after each one.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia import config
from pneumonia.evaluation import markdown
from pneumonia.labels import POSITIVE
from pneumonia.monitoring import sequential
from pneumonia.monitoring.estimated import estimate
from pneumonia.monitoring.performance import measure, share
from pneumonia.monitoring.retrain import CLASS_OF

PREDICTIONS, JUDGEMENT = Path("release/reports/predictions.csv"), Path("release/reports/judgement.json")
TABLE, PAGE = Path("docs/label-monitoring.json"), Path("docs/label-monitoring.md")
RUNS = 200
QUIET, AFTER = 500, 1000
"""Labels before and after something is planted."""
WITHIN = (200, 500, 1000)
SEED = 1


@dataclass(frozen=True)
class Planted:
    """What goes wrong: chance that a label is flipped, and that a right answer becomes a wrong one, by class."""

    flipped: float = 0.0
    missed: float = 0.0
    overcalled: float = 0.0


PLANTED = {
    "nothing": Planted(),
    "2% of labels mistaken": Planted(flipped=0.02),
    "5% of labels mistaken": Planted(flipped=0.05),
    "10% of labels mistaken": Planted(flipped=0.1),
    "20% of labels mistaken": Planted(flipped=0.2),
    "5% of the ill found so far are missed": Planted(missed=0.05),
    "10% of the ill found so far are missed": Planted(missed=0.1),
    "20% of the ill found so far are missed": Planted(missed=0.2),
    "40% of the ill found so far are missed": Planted(missed=0.4),
    "20% of the healthy spared so far are called ill": Planted(overcalled=0.2),
    "40% of the healthy spared so far are called ill": Planted(overcalled=0.4),
}


def main() -> None:
    """Plant each of them, and write both files."""
    params = config.load(Path("params.yaml"))
    judged = json.loads(JUDGEMENT.read_text(encoding="utf-8"))
    threshold, figures = judged["operating_point"]["threshold"], judged["subsets"]["test"]["figures"]
    reference = {name: figures[name]["value"] for name in CLASS_OF}
    predictions = pd.read_csv(PREDICTIONS)
    test = predictions[predictions["subset"] == "test"]
    ill, called = (test["label"] == POSITIVE).to_numpy(), (test["probability"] >= threshold).to_numpy()
    rng = np.random.default_rng(SEED)
    rows = {
        name: _summary([_alarm(ill, called, planted, reference, params.feedback, rng) for _ in range(RUNS)])
        for name, planted in PLANTED.items()
    }
    estimates = {
        subset: _estimates(predictions[predictions["subset"] == subset], threshold, params)
        for subset in ("validation", "test")
    }
    found = {"reference": reference, "planted": rows, "estimates": estimates}
    TABLE.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(_page(found, params.feedback), encoding="utf-8")


def _alarm(
    ill: NDArray[np.bool_],
    called: NDArray[np.bool_],
    planted: Planted,
    reference: dict[str, float],
    params: config.FeedbackParams,
    rng: np.random.Generator,
) -> int | None:
    """Return the number of labels of either class after which the first alarm came."""
    drawn = rng.integers(0, len(ill), QUIET + AFTER)
    label, answer = ill[drawn], called[drawn]
    chance = rng.random((3, len(drawn)))
    late = np.arange(len(drawn)) >= QUIET
    answer = answer & ~(late & label & (chance[0] < planted.missed))
    answer = answer | (late & ~label & (chance[1] < planted.overcalled))
    label = label ^ (late & (chance[2] < planted.flipped))
    first = []
    for name, positive in CLASS_OF.items():
        places = np.flatnonzero(label == (positive == POSITIVE))
        limit = reference[name] - getattr(params.tolerated_loss, name)
        right = answer[places] == label[places]
        after = sequential.against(right, limit, params.false_alarm_rate / len(CLASS_OF)).alarm_after
        first += [int(places[after - 1]) + 1] if after else []
    return min(first, default=None)


def _summary(alarms: list[int | None]) -> dict[str, Any]:
    delays = [alarm - QUIET for alarm in alarms if alarm is not None and alarm > QUIET]
    late = RUNS - sum(alarm is not None and alarm <= QUIET for alarm in alarms)
    delay = np.array([*delays, *[np.inf] * (late - len(delays))])
    half = np.quantile(delay, 0.5, method="lower")
    return {
        "runs": RUNS,
        "before": RUNS - late,
        "within": {str(labels): share(delay <= labels).to_json() for labels in WITHIN},
        "median": None if np.isinf(half) else int(half),
    }


def _estimates(part: pd.DataFrame, threshold: float, params: config.Params) -> dict[str, Any]:
    shares, called = part["probability"].to_numpy(), (part["probability"] >= threshold).to_numpy()
    targets = (part["label"] == POSITIVE).to_numpy().astype(int)
    measured = measure(targets, shares, called, params.evaluate.bootstrap)
    return {
        name: {"estimated": figure.to_json(), "measured": measured[name].to_json()}
        for name, figure in estimate(shares, called).items()
    }


def _page(found: dict[str, Any], params: config.FeedbackParams) -> str:
    reference = found["reference"]
    lines = [
        "# What labels show, and how soon",
        "",
        "Written by `python -m benchmarks.label_noise`; the figures are in label-monitoring.json.",
        "",
        f"The release's answers for the official test set, drawn with replacement {RUNS} times: sensitivity "
        f"{reference['sensitivity']:.3f} and specificity {reference['specificity']:.3f}. A loss of "
        f"{params.tolerated_loss.sensitivity:g} and {params.tolerated_loss.specificity:g} is tolerated. Nothing is "
        f"wrong with the first {QUIET} labels; what is planted then lasts for {AFTER} more. The test is looked at "
        f"after every label, at a false-alarm rate of {params.false_alarm_rate:g} over all looks.",
        "",
        *markdown.head(
            "planted",
            f"false alarms before, of {RUNS}",
            *(f"alarm within {n} labels" for n in WITHIN),
            "half by label",
        ),
        *(
            markdown.row(
                name,
                str(row["before"]),
                *(markdown.interval(row["within"][str(n)]) for n in WITHIN),
                "-" if row["median"] is None else str(row["median"]),
            )
            for name, row in found["planted"].items()
        ),
        "",
        "Mistaken labels look like a worse model. Here pneumonia is the more frequent class: mistaken labels put more "
        "of the ill among the healthy than the other way round, and the measured specificity suffers most. That is "
        "why the page asks to review the disagreements before anything else.",
        "",
        "## Estimated without labels, and how far off",
        "",
        "The same model: sensitivity, specificity and ppv as its probabilities alone foretell them, and by "
        "the labels. The calibration was fitted to validation images; those of the official test set are unlike them.",
        "",
        *markdown.head("images", "figure", "estimated", "measured", "too high by"),
        *(
            markdown.row(
                subset,
                name,
                markdown.interval(pair["estimated"]),
                markdown.interval(pair["measured"]),
                f"{pair['estimated']['value'] - pair['measured']['value']:+.3f}",
            )
            for subset, figures in found["estimates"].items()
            for name, pair in figures.items()
        ),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
