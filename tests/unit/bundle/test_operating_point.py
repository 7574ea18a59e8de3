from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.bundle import operating_point
from pneumonia.bundle.settings import BandParams


def sensitivity(targets: NDArray[np.int_], probabilities: NDArray[np.float64], threshold: float) -> Fraction:
    positives = probabilities[targets == 1]
    return Fraction(int((positives >= threshold).sum()), len(positives))


def drawn(seed: int) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """A validation set of random size, prevalence and overlap, with many ties when the seed is odd."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 300))
    targets = (rng.random(count) < rng.uniform(0.05, 0.95)).astype(int)
    targets[0] = 1
    probabilities = np.clip(rng.normal(0.4 + 0.2 * targets, 0.2), 0, 1)
    return targets, probabilities.round(1) if seed % 2 else probabilities


@pytest.mark.parametrize("minimum", ["0.01", "0.5", "0.55", "0.9", "0.95", "0.99"])
def test_threshold_is_the_highest_with_the_minimum_sensitivity(minimum: str) -> None:
    for seed in range(60):
        targets, probabilities = drawn(seed)

        threshold = operating_point.choose(targets, probabilities, float(minimum))

        assert sensitivity(targets, probabilities, threshold) >= Fraction(minimum)
        higher = np.unique(probabilities[probabilities > threshold])[1:]  # the first calls the same images
        assert all(sensitivity(targets, probabilities, other) < Fraction(minimum) for other in higher)


@pytest.mark.parametrize(("minimum", "positives"), [(0.55, 100), (0.07, 100), (0.95, 100), (0.95, 20), (0.9, 10)])
def test_sensitivity_that_divides_the_positives_is_met_exactly(minimum: float, positives: int) -> None:
    """In floating point 0.55 x 100 is a little above 55, which must not require 56."""
    targets = np.ones(positives, int)
    probabilities = np.linspace(0.1, 0.9, positives)

    threshold = operating_point.choose(targets, probabilities, minimum)

    assert (probabilities >= threshold).sum() == round(minimum * positives)


def test_the_threshold_lies_halfway_to_the_next_lower_probability() -> None:
    targets = np.array([1, 1, 0, 0])
    probabilities = np.array([0.9, 0.8, 0.4, 0.1])

    assert operating_point.choose(targets, probabilities, 0.95) == pytest.approx(0.6)
    assert operating_point.choose(targets, probabilities, 0.5) == pytest.approx(0.85)


def test_tied_images_get_the_same_label() -> None:
    targets = np.array([1, 1, 1, 1, 0, 0])
    probabilities = np.array([0.9, 0.7, 0.7, 0.7, 0.7, 0.2])

    threshold = operating_point.choose(targets, probabilities, 0.5)

    assert threshold == pytest.approx(0.45)
    assert (probabilities >= threshold).sum() == 5


def test_one_positive_below_all_negatives() -> None:
    targets = np.array([0, 0, 1])
    probabilities = np.array([0.9, 0.8, 0.2])

    assert operating_point.choose(targets, probabilities, 0.95) == pytest.approx(0.1)


def test_positive_of_probability_zero_is_still_labelled_positive() -> None:
    targets, probabilities = np.array([1, 0]), np.array([0.0, 0.5])

    assert sensitivity(targets, probabilities, operating_point.choose(targets, probabilities, 0.95)) == 1


BAND = BandParams(sensitivity=0.99, specificity=0.98)


def test_band_has_the_sensitivity_at_its_low_end_and_the_specificity_at_its_high_end() -> None:
    for seed in range(60):
        targets, probabilities = drawn(seed)
        targets[-1] = 0
        threshold = operating_point.choose(targets, probabilities, 0.9)

        band = operating_point.choose_band(targets, probabilities, threshold, BAND)

        assert band.low <= threshold <= band.high
        assert sensitivity(targets, probabilities, band.low) >= Fraction("0.99")
        assert sensitivity(1 - targets, -probabilities, -band.high) >= Fraction("0.98")


def test_band_is_no_wider_than_necessary() -> None:
    """100 negatives below 0.5 and 100 positives above, except for three of each on the wrong side."""
    negatives = np.concatenate([np.linspace(0.01, 0.4, 97), [0.7, 0.8, 0.9]])
    positives = np.concatenate([np.linspace(0.6, 0.99, 97), [0.1002, 0.2002, 0.3002]])
    targets, probabilities = np.repeat([0, 1], 100), np.concatenate([negatives, positives])

    band = operating_point.choose_band(targets, probabilities, 0.5, BAND)

    assert 0.19 < band.low < 0.2002  # calls 99 of 100 positives
    assert 0.7 < band.high < 0.72  # spares 98 of 100 negatives


def test_band_of_a_perfect_model_ends_at_the_threshold() -> None:
    targets = np.repeat([0, 1], 50)
    probabilities = np.concatenate([np.linspace(0.0, 0.1, 50), np.linspace(0.8, 1.0, 50)])
    threshold = operating_point.choose(targets, probabilities, 0.9)

    band = operating_point.choose_band(targets, probabilities, threshold, BAND)

    assert band.low < threshold == band.high
    assert band.low > 0.1
