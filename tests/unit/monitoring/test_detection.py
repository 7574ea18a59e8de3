"""Drift detection: false alarm rate and power, on records with a known distribution."""

import numpy as np
import pytest

from pneumonia.core.errors import MonitoringError
from pneumonia.monitoring.detection import detect_drift
from pneumonia.monitoring.settings import MonitorParams
from tests.support.records import reference, window

PARAMS = MonitorParams(window=200, minimum_images=50, false_alarm_rate=0.05, resamples=200, seed=1)


def count_alerts(windows: int, images: int, images_each: int) -> int:
    """Count the alerts of windows without drift; each window has a reference of its own."""
    count = 0
    for seed in range(windows):
        rng = np.random.default_rng(seed)
        expected = reference(rng, 240 // images_each, images_each)
        observed = reference(rng, images // images_each, images_each)
        count += detect_drift(expected, observed, PARAMS).alert
    return count


@pytest.mark.parametrize("images_each", [1, 4])
def test_false_alarm_rate_holds_also_for_correlated_images_of_a_patient(images_each: int) -> None:
    assert count_alerts(30, 120, images_each) <= 5  # of 30 at 5%, more has a probability of 0.3%


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"brightness": 150.0}, "brightness"),
        ({"probability": None, "decision": None, "status": "refused", "refusal": "adult"}, "refusal"),
        ({"format": "DICOM"}, "format"),
        ({"jpeg_quality": None}, "jpeg_quality"),
        ({"mode": "RGB"}, "mode"),
        ({f"component_{number}": 2.0 for number in range(8)}, "embedding_distance"),
    ],
)
def test_change_in_a_third_of_the_images_is_detected_in_the_right_column(
    changes: dict[str, float | str | None], column: str
) -> None:
    rng = np.random.default_rng(5)
    expected, observed = reference(rng, 400), window(rng, 200)
    changed = window(rng, 70, **changes)
    observed.loc[:69, changed.columns] = changed
    result = detect_drift(expected, observed, PARAMS)
    assert result.alert
    assert column in result.changed
    assert all(each.p_value <= 0.05 for each in result.columns if each.changed)


def test_single_image_of_a_rare_format_raises_no_alert() -> None:
    rng = np.random.default_rng(6)
    expected, observed = reference(rng, 400), window(rng, 200)
    observed.loc[:0, "format"] = "DICOM"
    assert "format" not in detect_drift(expected, observed, PARAMS).changed


def test_smaller_variance_with_equal_mean_is_detected() -> None:
    rng = np.random.default_rng(7)
    expected, observed = reference(rng, 400), window(rng, 200)
    observed["contrast"] = 60 + (observed["contrast"] - 60) / 4
    result = detect_drift(expected, observed, PARAMS)
    assert result.changed == ("contrast",)
    assert 0.2 < result.columns[0].distance < 0.6


def test_same_input_gives_the_same_result() -> None:
    rng = np.random.default_rng(8)
    expected, observed = reference(rng, 100), window(rng, 60)
    assert detect_drift(expected, observed, PARAMS) == detect_drift(expected, observed, PARAMS)


def test_too_few_predictions_raise_an_error() -> None:
    rng = np.random.default_rng(9)
    with pytest.raises(MonitoringError, match=r"at least 50 predictions .* found 49"):
        detect_drift(reference(rng, 100), window(rng, 49), PARAMS)
