"""Typed report of the stage *calibrate*: what was chosen for one model on validation images."""

from pneumonia.bundle.bundle import Band
from pneumonia.bundle.calibration import Calibration
from pneumonia.core.model import FrozenModel


class CalibrationReport(FrozenModel):
    """Calibration and operating point of one model, reports/calibration/<model>.json.

    Attributes:
        model: name of the model in params.yaml.
        losses: cross-validated log loss (nats) by candidate method; empty where patients are too few.
        calibration: the chosen function.
        threshold: operating point, a calibrated probability.
        band: indeterminate band of calibrated probabilities.
        validation: metrics on the unchanged validation images at the threshold.
    """

    model: str
    losses: dict[str, float]
    calibration: Calibration
    threshold: float
    band: Band
    validation: dict[str, float]
