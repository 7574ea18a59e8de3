import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk

from pneumonia.config import BootstrapParams
from pneumonia.evaluation import comparison

BOOTSTRAP = BootstrapParams(resamples=2000, seed=1)


def drawn(seed: int, count: int = 80) -> tuple[NDArray[np.int_], NDArray[np.float64], NDArray[np.float64]]:
    """Targets, and correlated scores with ties of two models, the second a little better."""
    rng = np.random.default_rng(seed)
    targets = (rng.random(count) < 0.6).astype(int)
    shared = rng.normal(0, 1, count)
    first, second = (shared + rng.normal(gain * targets, 1) for gain in (1.0, 1.5))
    return targets, first.round(1), second.round(1)


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
def test_delong_is_that_of_the_paper(seed: int) -> None:
    targets, first, second = drawn(seed)
    difference, variance = naive_delong(targets, first, second)

    found = comparison.delong(targets, first, second)

    assert found.difference.value == pytest.approx(difference)
    assert found.difference.value == pytest.approx(
        sk.roc_auc_score(targets, first) - sk.roc_auc_score(targets, second)
    )
    assert found.difference.high == pytest.approx(difference + 1.959964 * np.sqrt(variance))
    assert found.p == pytest.approx(2 * stats.norm.cdf(-abs(difference) / np.sqrt(variance)))


def test_delong_is_wrong_as_often_as_it_says_where_models_are_equal() -> None:
    """1,000 studies of two models of the same true AUC: p below 0.05 in about 5% of them."""
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1], 60)
    significant = []
    for _ in range(1000):
        shared = rng.normal(targets, 1)
        p = comparison.delong(targets, shared + rng.normal(0, 1, 120), shared + rng.normal(0, 1, 120)).p
        significant.append(p is not None and p < 0.05)
    assert 0.03 <= np.mean(significant) <= 0.075


def test_models_of_the_same_order_do_not_differ() -> None:
    targets, first, _ = drawn(0)

    found = comparison.delong(targets, first, 2 * first + 1)

    assert (found.difference.value, found.difference.low, found.p) == (0, None, 1.0)
    assert comparison.delong(np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3]), np.array([0.3, 0.2, 0.1])).p is None


def test_mcnemar_counts_and_has_the_exact_p() -> None:
    """Of 8 images that one model alone decides rightly, 7 are the first one's: p = 2 (1 + 8) / 2^8."""
    targets = np.array([1] * 8 + [0] * 4)
    first = np.array([True] * 7 + [False] + [False] * 4)
    second = np.array([False] * 7 + [True] + [False] * 4)

    found = comparison.mcnemar(targets, first, second)

    assert (found.first_alone_right, found.second_alone_right) == (7, 1)
    assert found.p == pytest.approx(18 / 256)
    assert comparison.mcnemar(targets, first, first).p == 1


def test_bootstrap_of_the_auc_difference_agrees_with_delong_for_single_images() -> None:
    targets, first, second = drawn(1, 600)
    delong = comparison.delong(targets, first, second).difference

    found = comparison.bootstrap_differences(targets, np.arange(600), (first, 0.5), (second, 0.5), BOOTSTRAP)

    assert found["roc_auc"].value == pytest.approx(delong.value)
    assert found["roc_auc"].low == pytest.approx(delong.low, abs=0.004)
    assert found["roc_auc"].high == pytest.approx(delong.high, abs=0.004)
    sensitivities = [((s >= 0.5) & (targets == 1)).sum() / targets.sum() for s in (first, second)]
    assert found["sensitivity"].value == pytest.approx(sensitivities[0] - sensitivities[1])


def test_paired_differences_are_narrower_than_those_of_separate_studies() -> None:
    """Both models see the same resamples, so what they share cancels out."""
    targets, first, _ = drawn(2, 300)
    almost = first + np.random.default_rng(0).normal(0, 0.05, 300)

    found = comparison.bootstrap_differences(targets, np.arange(300), (first, 0.5), (almost, 0.5), BOOTSTRAP)

    assert found["roc_auc"].low is not None
    assert found["roc_auc"].high is not None
    assert found["roc_auc"].high - found["roc_auc"].low < 0.02
