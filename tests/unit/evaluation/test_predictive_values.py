import numpy as np
import pytest

from pneumonia.evaluation.predictive_values import predictive_values
from pneumonia.evaluation.settings import BootstrapParams

BOOTSTRAP = BootstrapParams(resamples=500, seed=1)
TARGETS = np.repeat([1, 0], 100)
CALLED = np.concatenate([np.arange(100) < 90, np.arange(100) < 20])  # sensitivity 0.9, specificity 0.8


def test_bayes_by_hand() -> None:
    """Of 1,000 people 50 have pneumonia: 45 true positives, 190 false positives, 760 true and 5 false negatives."""
    values = predictive_values(TARGETS, CALLED, np.arange(200), [0.05, 0.5], BOOTSTRAP)

    assert values[0.05]["ppv"].value == pytest.approx(45 / (45 + 190))
    assert values[0.05]["npv"].value == pytest.approx(760 / (760 + 5))
    assert values[0.5]["ppv"].value == pytest.approx(90 / 110)
    low, high = values[0.05]["ppv"].low, values[0.05]["ppv"].high
    assert low is not None
    assert high is not None
    assert 0.12 < low < 45 / 235 < high < 0.32


def test_at_the_prevalence_of_the_images_they_are_the_observed_proportions() -> None:
    values = predictive_values(TARGETS[:150], CALLED[:150], np.arange(150), [2 / 3], BOOTSTRAP)[2 / 3]

    assert values["ppv"].value == pytest.approx(TARGETS[:150][CALLED[:150]].mean())
    assert values["npv"].value == pytest.approx(1 - TARGETS[:150][~CALLED[:150]].mean())


def test_without_positive_calls_there_is_no_ppv() -> None:
    values = predictive_values(TARGETS, np.zeros(200, bool), np.arange(200), [0.2], BOOTSTRAP)

    assert set(values[0.2]) == {"npv"}
    assert values[0.2]["npv"].value == pytest.approx(0.8)
