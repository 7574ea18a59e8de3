"""Figures by labels, and the same figures without labels."""

import numpy as np
import pytest

from pneumonia.config import BootstrapParams
from pneumonia.monitoring.estimated import estimate
from pneumonia.monitoring.performance import measure

BOOTSTRAP = BootstrapParams(resamples=200, seed=1)
THRESHOLD = 0.4


def drawn(images: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw labels by probabilities that mean what they say."""
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(0.5, 0.5, images)
    return (rng.random(images) < probabilities).astype(int), probabilities, probabilities >= THRESHOLD


def test_wilson_intervals_are_those_of_the_book() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263 is 0.2553 to 0.3662, 0 of 20 is 0 to 0.1611."""
    targets = np.array([1] * 263 + [0] * 20)
    called = np.array([True] * 81 + [False] * 182 + [True] * 20)
    found = measure(targets, called * 0.5, called, BOOTSTRAP)
    assert (found["sensitivity"].low, found["sensitivity"].high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert (found["specificity"].low, found["specificity"].high) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert (found["sensitivity"].images, found["specificity"].images) == (263, 20)


def test_what_no_label_tells_is_left_out() -> None:
    none = np.array([])
    assert measure(none.astype(int), none, none.astype(bool), BOOTSTRAP) == {}
    ill = measure(np.array([1, 1]), np.array([0.9, 0.8]), np.array([True, True]), BOOTSTRAP)
    assert "specificity" not in ill
    assert "roc_auc" not in ill


def test_probabilities_that_say_too_much_show_in_the_excess() -> None:
    targets, probabilities, called = drawn(3000, seed=4)
    honest = measure(targets, probabilities, called, BOOTSTRAP)["excess"]
    assert honest.low is not None
    assert honest.low < 0 < (honest.high or 0)
    vain = measure(targets, probabilities**0.5, called, BOOTSTRAP)["excess"]
    assert vain.low is not None
    assert vain.low > 0.05


@pytest.mark.parametrize("name", ["sensitivity", "specificity", "ppv"])
def test_where_probabilities_mean_what_they_say_labels_fall_into_the_estimated_interval(name: str) -> None:
    within = 0
    for seed in range(200):
        targets, probabilities, called = drawn(300, seed)
        foretold = estimate(probabilities, called)[name]
        hits = {"sensitivity": called[targets == 1], "specificity": ~called[targets == 0], "ppv": targets[called] == 1}
        within += (foretold.low or 0) <= hits[name].mean() <= (foretold.high or 0)
    assert 0.9 <= within / 200 <= 0.99


def test_an_estimate_cannot_see_probabilities_that_no_longer_hold() -> None:
    """What the page warns of: the same probabilities, and half of the ill are missed; the estimate stays."""
    targets, probabilities, called = drawn(2000, seed=9)
    missed = called & ~((targets == 1) & (np.arange(2000) % 2 == 0))
    changed = np.where(missed, probabilities, probabilities * 0.2)
    foretold = estimate(changed, changed >= THRESHOLD)["sensitivity"]
    true = measure(targets, changed, changed >= THRESHOLD, BOOTSTRAP)["sensitivity"]
    assert foretold.value > true.value + 0.2
