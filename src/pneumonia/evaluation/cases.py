"""Choose the test images that a model's explanations are shown for."""

import pandas as pd

from pneumonia.core.labels import POSITIVE

RULES = {
    "confident_pneumonia": "PNEUMONIA, called PNEUMONIA, with the highest probability",
    "confident_normal": "NORMAL, called NORMAL, with the lowest probability",
    "worst_false_positive": "NORMAL, called PNEUMONIA, with the highest probability",
    "worst_false_negative": "PNEUMONIA, called NORMAL, with the lowest probability",
    "closest_to_threshold": "any, with the probability closest to the operating point",
}
"""Rules of choice; of equals, the first by path."""


def choose(predictions: pd.DataFrame, threshold: float, count: int) -> pd.DataFrame:
    """Return up to ``count`` test images per rule.

    Args:
        predictions: one row per image with path, subset, label, predicted, logit and probability (0 to 1).
        threshold: operating point, a probability.
        count: images per rule, at most.

    Returns:
        Columns rule, path, label and probability, in the order of `RULES`.
    """
    test = predictions.query("subset == 'test'").sort_values("path")
    positive, called = test["label"] == POSITIVE, test["predicted"] == POSITIVE
    logit = test["logit"]  # the same order as the probabilities, with fewer ties
    distances = {
        "confident_pneumonia": -logit[positive & called],
        "confident_normal": logit[~positive & ~called],
        "worst_false_positive": -logit[~positive & called],
        "worst_false_negative": logit[positive & ~called],
        "closest_to_threshold": (test["probability"] - threshold).abs(),
    }
    chosen = [test.loc[distances[rule].sort_values(kind="stable").index[:count]].assign(rule=rule) for rule in RULES]
    return pd.concat(chosen)[["rule", "path", "label", "probability"]]
