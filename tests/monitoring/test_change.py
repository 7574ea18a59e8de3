"""The test behind an alert: how often it is right, on records whose distribution is known."""

import numpy as np
import pytest

from pneumonia.config import MonitorParams
from pneumonia.errors import MonitoringError
from pneumonia.monitoring.change import compare
from tests.monitoring.records import reference, window

PARAMS = MonitorParams(window=200, minimum_images=50, false_alarm_rate=0.05, resamples=200, seed=1)


def alarms(windows: int, images: int, images_each: int) -> int:
    """Count the alarms where nothing has changed; each window has a reference of its own."""
    count = 0
    for seed in range(windows):
        rng = np.random.default_rng(seed)
        known = reference(rng, 240 // images_each, images_each)
        seen = reference(rng, images // images_each, images_each)
        count += compare(known, seen, PARAMS).alert
    return count


@pytest.mark.parametrize("images_each", [1, 4])
def test_false_alarms_are_as_rare_as_asked_for_also_where_images_of_a_patient_are_alike(images_each: int) -> None:
    assert alarms(30, 120, images_each) <= 5  # of 30 at 5%, more has a probability of 0.3%


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
def test_a_change_of_a_third_of_the_images_is_found_and_named(
    changes: dict[str, float | str | None], column: str
) -> None:
    rng = np.random.default_rng(5)
    known, seen = reference(rng, 400), window(rng, 200)
    changed = window(rng, 70, **changes)
    seen.loc[:69, changed.columns] = changed
    found = compare(known, seen, PARAMS)
    assert found.alert
    assert column in found.changed
    assert all(each.p_value <= 0.05 for each in found.columns if each.changed)


def test_a_few_images_of_a_rare_kind_are_no_alarm() -> None:
    rng = np.random.default_rng(6)
    known, seen = reference(rng, 400), window(rng, 200)
    seen.loc[:0, "format"] = "DICOM"
    assert "format" not in compare(known, seen, PARAMS).changed


def test_a_narrower_distribution_of_the_same_mean_is_found() -> None:
    rng = np.random.default_rng(7)
    known, seen = reference(rng, 400), window(rng, 200)
    seen["contrast"] = 60 + (seen["contrast"] - 60) / 4
    found = compare(known, seen, PARAMS)
    assert found.changed == ("contrast",)
    assert 0.2 < found.columns[0].distance < 0.6


def test_the_same_question_has_the_same_answer() -> None:
    rng = np.random.default_rng(8)
    known, seen = reference(rng, 100), window(rng, 60)
    assert compare(known, seen, PARAMS) == compare(known, seen, PARAMS)


def test_too_few_predictions_are_refused() -> None:
    rng = np.random.default_rng(9)
    with pytest.raises(MonitoringError, match=r"at least 50 predictions .* found 49"):
        compare(reference(rng, 100), window(rng, 49), PARAMS)
