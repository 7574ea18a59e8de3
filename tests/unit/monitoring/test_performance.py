"""Metrics by labels, and metrics estimated without labels."""

import numpy as np
import pytest

from pneumonia.evaluation.settings import BootstrapParams
from pneumonia.monitoring.performance import measure
from pneumonia.monitoring.performance_estimation import estimate_metrics

BOOTSTRAP = BootstrapParams(resamples=200, seed=1)
THRESHOLD = 0.4


def drawn(images: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw labels from calibrated probabilities."""
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(0.5, 0.5, images)
    return (rng.random(images) < probabilities).astype(int), probabilities, probabilities >= THRESHOLD


def test_wilson_intervals_equal_published_values() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263 is 0.2553 to 0.3662, 0 of 20 is 0 to 0.1611."""
    targets = np.array([1] * 263 + [0] * 20)
    called = np.array([True] * 81 + [False] * 182 + [True] * 20)
    metrics = measure(targets, called * 0.5, called, BOOTSTRAP)
    assert (metrics["sensitivity"].low, metrics["sensitivity"].high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert (metrics["specificity"].low, metrics["specificity"].high) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert (metrics["sensitivity"].images, metrics["specificity"].images) == (263, 20)


def test_undefined_metrics_are_left_out() -> None:
    empty = np.array([])
    assert measure(empty.astype(int), empty, empty.astype(bool), BOOTSTRAP) == {}
    one_class = measure(np.array([1, 1]), np.array([0.9, 0.8]), np.array([True, True]), BOOTSTRAP)
    assert "specificity" not in one_class
    assert "roc_auc" not in one_class


def test_overestimated_probabilities_increase_the_excess() -> None:
    targets, probabilities, called = drawn(3000, seed=4)
    calibrated = measure(targets, probabilities, called, BOOTSTRAP)["excess"]
    assert calibrated.low is not None
    assert calibrated.low < 0 < (calibrated.high or 0)
    overestimated = measure(targets, probabilities**0.5, called, BOOTSTRAP)["excess"]
    assert overestimated.low is not None
    assert overestimated.low > 0.05


@pytest.mark.parametrize("name", ["sensitivity", "specificity", "ppv"])
def test_estimated_interval_covers_the_labels_if_probabilities_are_calibrated(name: str) -> None:
    within = 0
    for seed in range(200):
        targets, probabilities, called = drawn(300, seed)
        estimated = estimate_metrics(probabilities, called)[name]
        hits = {"sensitivity": called[targets == 1], "specificity": ~called[targets == 0], "ppv": targets[called] == 1}
        within += (estimated.low or 0) <= hits[name].mean() <= (estimated.high or 0)
    assert 0.9 <= within / 200 <= 0.99


def test_estimate_does_not_detect_a_lost_calibration() -> None:
    """Half of the pneumonia cases are missed with low probabilities; the estimate stays high, as the page warns."""
    targets, probabilities, called = drawn(2000, seed=9)
    missed = called & ~((targets == 1) & (np.arange(2000) % 2 == 0))
    changed = np.where(missed, probabilities, probabilities * 0.2)
    estimated = estimate_metrics(changed, changed >= THRESHOLD)["sensitivity"]
    true = measure(targets, changed, changed >= THRESHOLD, BOOTSTRAP)["sensitivity"]
    assert estimated.value > true.value + 0.2
