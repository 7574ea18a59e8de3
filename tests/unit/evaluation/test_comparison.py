import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk

from pneumonia.bundle.calibration import Calibration
from pneumonia.core.errors import EvidenceError
from pneumonia.evaluation import comparison
from pneumonia.evaluation.comparison_report import Selection
from pneumonia.evaluation.metrics import binary_metrics
from pneumonia.evaluation.prediction_table import predictions_table
from pneumonia.evaluation.settings import BootstrapParams
from tests.support.cards import card
from tests.unit.evaluation.test_evaluate import scored

BOOTSTRAP = BootstrapParams(resamples=2000, seed=1)


def drawn(seed: int, count: int = 80) -> tuple[NDArray[np.int_], NDArray[np.float64], NDArray[np.float64]]:
    """Targets, and correlated scores with ties of two models, the second slightly better."""
    rng = np.random.default_rng(seed)
    targets = (rng.random(count) < 0.6).astype(int)
    shared = rng.normal(0, 1, count)
    first, second = (shared + rng.normal(gain * targets, 1) for gain in (1.0, 1.5))
    return targets, first.round(1), second.round(1)


def answers(scores: NDArray[np.float64]) -> comparison.Answers:
    """Decisions at a score of 0.5."""
    return scores, scores >= 0.5


def naive_delong(targets: NDArray[np.int_], *models: NDArray[np.float64]) -> tuple[float, float]:
    """Difference and its variance, straight from the paper: kernel matrices and structural components."""
    v10, v01 = [], []
    for scores in models:
        positives, negatives = scores[targets == 1], scores[targets == 0]
        kernel = np.array([[1.0 if x > y else 0.5 if x == y else 0.0 for y in negatives] for x in positives])
        v10.append(kernel.mean(axis=1))
        v01.append(kernel.mean(axis=0))
    covariance = np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])
    contrast = np.array([1, -1])
    return float(np.mean(v10[0]) - np.mean(v10[1])), float(contrast @ covariance @ contrast)


@pytest.mark.parametrize("seed", range(5))
def test_delong_agrees_with_the_formulas_of_the_paper(seed: int) -> None:
    targets, first, second = drawn(seed)
    difference, variance = naive_delong(targets, first, second)

    result = comparison.delong(targets, first, second)

    assert result.difference.value == pytest.approx(difference)
    assert result.difference.value == pytest.approx(
        sk.roc_auc_score(targets, first) - sk.roc_auc_score(targets, second)
    )
    assert result.difference.high == pytest.approx(difference + 1.959964 * np.sqrt(variance))
    assert result.p == pytest.approx(2 * stats.norm.cdf(-abs(difference) / np.sqrt(variance)))


def test_delong_has_its_nominal_error_rate_for_equal_models() -> None:
    """1,000 studies of two models of the same true AUC: p below 0.05 in about 5% of them."""
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1], 60)
    significant = []
    for _ in range(1000):
        shared = rng.normal(targets, 1)
        p = comparison.delong(targets, shared + rng.normal(0, 1, 120), shared + rng.normal(0, 1, 120)).p
        significant.append(p is not None and p < 0.05)
    assert 0.03 <= np.mean(significant) <= 0.075


def test_models_with_the_same_ranking_do_not_differ() -> None:
    targets, first, _ = drawn(0)

    result = comparison.delong(targets, first, 2 * first + 1)

    assert (result.difference.value, result.difference.low, result.p) == (0, None, 1.0)
    assert comparison.delong(np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3]), np.array([0.3, 0.2, 0.1])).p is None


def test_mcnemar_counts_and_has_the_exact_p() -> None:
    """Of 8 images that only one model classifies correctly, 7 belong to the first: p = 2 (1 + 8) / 2^8."""
    targets = np.array([1] * 8 + [0] * 4)
    first = np.array([True] * 7 + [False] + [False] * 4)
    second = np.array([False] * 7 + [True] + [False] * 4)

    result = comparison.mcnemar(targets, first, second)

    assert (result.first_alone_right, result.second_alone_right) == (7, 1)
    assert result.p == pytest.approx(18 / 256)
    assert comparison.mcnemar(targets, first, first).p == 1


def test_bootstrap_of_the_auc_difference_agrees_with_delong_for_single_images() -> None:
    targets, first, second = drawn(1, 600)
    delong = comparison.delong(targets, first, second).difference

    result = comparison.bootstrap_differences(targets, np.arange(600), answers(first), answers(second), BOOTSTRAP)

    assert result["roc_auc"].value == pytest.approx(delong.value)
    assert result["roc_auc"].low == pytest.approx(delong.low, abs=0.004)
    assert result["roc_auc"].high == pytest.approx(delong.high, abs=0.004)
    sensitivities = [((s >= 0.5) & (targets == 1)).sum() / targets.sum() for s in (first, second)]
    assert result["sensitivity"].value == pytest.approx(sensitivities[0] - sensitivities[1])


def test_paired_differences_are_narrower_than_those_of_separate_studies() -> None:
    """Both models are evaluated on the same resamples, so shared variation cancels out."""
    targets, first, _ = drawn(2, 300)
    almost = first + np.random.default_rng(0).normal(0, 0.05, 300)

    result = comparison.bootstrap_differences(targets, np.arange(300), answers(first), answers(almost), BOOTSTRAP)

    assert result["roc_auc"].low is not None
    assert result["roc_auc"].high is not None
    assert result["roc_auc"].high - result["roc_auc"].low < 0.02


def tables() -> dict[str, pd.DataFrame]:
    """Predictions of two models at their own operating points."""
    cards = {"good": card(name="good"), "poor": card(name="poor", threshold=0.5, calibration=Calibration())}
    images = {"good": scored(1), "poor": scored(1, gain=0.5)}
    return {name: predictions_table(cards[name], {"test": images[name]}) for name in cards}


def test_models_are_compared_with_the_reference_at_their_own_operating_points() -> None:
    predictions = tables()
    rule = Selection(metric="roc_auc", subset="test")

    result = comparison.compare(predictions, "good", BOOTSTRAP, rule)

    assert (result.reference, result.selected_by, set(result.models)) == ("good", rule, {"poor"})
    sensitivity = {
        name: binary_metrics(
            (table["label"] == "PNEUMONIA").to_numpy(int), table["probability"].to_numpy(), threshold
        )["sensitivity"]
        for (name, table), threshold in zip(predictions.items(), (0.6, 0.5), strict=True)
    }
    pair = result.models["poor"]["test"]
    expected = sensitivity["poor"] - sensitivity["good"]
    assert pair.differences["sensitivity"].value == pytest.approx(expected, abs=1e-6)
    assert pair.delong.p is not None
    assert pair.delong.p < 0.001


def test_rounding_logits_to_six_decimals_does_not_change_a_comparison() -> None:
    """The predictions tables hold six decimals; full precision gives the same report."""
    predictions = tables()
    images = {"good": scored(1), "poor": scored(1, gain=0.5)}
    exact = {name: predictions[name].assign(logit=images[name].logits) for name in predictions}

    assert comparison.compare(exact, "good", BOOTSTRAP) == comparison.compare(predictions, "good", BOOTSTRAP)


def test_models_with_other_images_are_refused() -> None:
    predictions = tables()
    predictions["poor"] = predictions["poor"].iloc[1:]
    with pytest.raises(EvidenceError, match="expected the same test images for poor and good, got 239 and 240"):
        comparison.compare(predictions, "good", BOOTSTRAP)
