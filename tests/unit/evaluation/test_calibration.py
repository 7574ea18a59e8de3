import numpy as np
import pytest

from pneumonia.evaluation import calibration_error as calibration


def test_calibration_error_by_hand() -> None:
    """Bins [0.1, 0.2): 2 images of mean 0.15, none positive; [0.9, 1.0]: 2 images of mean 0.95, half positive."""
    error = calibration.calibration_error(np.array([0, 0, 0, 1]), np.array([0.12, 0.18, 0.9, 1.0]))

    assert error == pytest.approx((2 * 0.15 + 2 * 0.45) / 4)
