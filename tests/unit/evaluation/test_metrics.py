import numpy as np
import pytest
from sklearn import metrics as sk

from pneumonia.evaluation.calibration_error import calibration_error
from pneumonia.evaluation.metrics import binary_metrics

ALL = {
    "loss",
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "npv",
    "f1",
    "roc_auc",
    "pr_auc",
    "brier",
    "ece",
}


def test_an_example_by_hand() -> None:
    """At 0.5 there are 3 true and 1 false positives, 2 true and 1 false negatives."""
    targets = np.array([1, 1, 1, 1, 0, 0, 0])
    probabilities = np.array([0.9, 0.8, 0.5, 0.3, 0.6, 0.4, 0.1])

    figures = binary_metrics(targets, probabilities, threshold=0.5)

    assert set(figures) == ALL
    assert figures["accuracy"] == pytest.approx(5 / 7)
    assert figures["sensitivity"] == pytest.approx(3 / 4)
    assert figures["specificity"] == pytest.approx(2 / 3)
    assert figures["balanced_accuracy"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert figures["precision"] == pytest.approx(3 / 4)
    assert figures["npv"] == pytest.approx(2 / 3)
    assert figures["f1"] == pytest.approx(3 / 4)
    assert figures["roc_auc"] == pytest.approx(9 / 12)  # pairs in the right order
    assert figures["pr_auc"] == pytest.approx((1 + 1 + 3 / 4 + 4 / 6) / 4)
    assert figures["brier"] == pytest.approx((0.01 + 0.04 + 0.25 + 0.49 + 0.36 + 0.16 + 0.01) / 7)
    assert figures["ece"] == pytest.approx((0.1 + 0.2 + 0.5 + 0.7 + 0.6 + 0.4 + 0.1) / 7)  # each in a bin of its own
    assert figures["loss"] == pytest.approx(-np.log([0.9, 0.8, 0.5, 0.3, 0.4, 0.6, 0.9]).mean())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_agreement_with_scikit_learn(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, 200)
    probabilities = np.clip(0.3 * targets + rng.uniform(0, 0.7, 200), 0, 1).round(2)  # with ties
    called = (probabilities >= threshold).astype(int)

    figures = binary_metrics(targets, probabilities, threshold)

    assert figures.pop("ece") == pytest.approx(calibration_error(targets, probabilities))
    assert figures == pytest.approx(
        {
            "loss": sk.log_loss(targets, probabilities),
            "accuracy": sk.accuracy_score(targets, called),
            "balanced_accuracy": sk.balanced_accuracy_score(targets, called),
            "sensitivity": sk.recall_score(targets, called),
            "specificity": sk.recall_score(targets, called, pos_label=0),
            "precision": sk.precision_score(targets, called),
            "npv": sk.precision_score(targets, called, pos_label=0),
            "f1": sk.f1_score(targets, called),
            "roc_auc": sk.roc_auc_score(targets, probabilities),
            "pr_auc": sk.average_precision_score(targets, probabilities),
            "brier": sk.brier_score_loss(targets, probabilities),
        }
    )


@pytest.mark.parametrize(("threshold", "undefined"), [(0.95, "precision"), (0.05, "npv")])
def test_an_undefined_metric_is_left_out(threshold: float, undefined: str) -> None:
    figures = binary_metrics(np.array([0, 1, 1]), np.array([0.1, 0.6, 0.9]), threshold)

    assert set(figures) == ALL - {undefined}


def test_probabilities_of_0_and_1_have_a_finite_loss() -> None:
    figures = binary_metrics(np.array([0, 1, 1]), np.array([0.0, 1.0, 0.0]), 0.5)

    assert np.isfinite(figures["loss"])
    assert figures["accuracy"] == pytest.approx(2 / 3)


def test_metrics_are_python_floats() -> None:
    assert {type(value) for value in binary_metrics(np.array([0, 1]), np.array([0.2, 0.7]), 0.5).values()} == {float}
