"""What turns a network's logits into probabilities; fitted by `evaluation.calibration`, kept in the bundle."""

import math
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pneumonia.config import CalibrationMethod
from pneumonia.errors import BundleError


@dataclass(frozen=True)
class Calibration:
    """A strictly increasing function of the logit: it moves probabilities, and never the order of the images.

    Attributes:
        method: ``none``, ``temperature`` or ``platt`` (logit / temperature + intercept, the intercept being 0 for
            ``temperature``), or ``isotonic`` (straight lines between knots).
        temperature: above 0; above 1 the answers become less certain.
        intercept: log-odds added to every answer.
        knots: for ``isotonic``, pairs (logit, calibrated logit), both strictly increasing, at least two. Beyond the
            outer knots the line goes on with the mean slope between them.
    """

    method: CalibrationMethod = "none"
    temperature: float = 1.0
    intercept: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is not strictly increasing."""
        if self.method == "isotonic":
            steps = np.diff(np.array(self.knots, float), axis=0)
            increasing = len(self.knots) > 1 and bool((steps > 0).all())
        else:
            increasing = 0 < self.temperature < math.inf and math.isfinite(self.intercept)
        if not increasing or self.method not in get_args(CalibrationMethod):
            raise BundleError(
                f"Expected a strictly increasing calibration by one of {', '.join(get_args(CalibrationMethod))}, got "
                f"{self}. Train the model again (`dvc repro train`)."
            )

    def logits(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return calibrated log-odds (N,) of a network's logits (N,)."""
        if self.method != "isotonic":
            return np.asarray(logits / self.temperature + self.intercept)
        x, y = np.array(self.knots).T
        beyond = np.minimum(logits - x[0], 0) + np.maximum(logits - x[-1], 0)
        return np.asarray(np.interp(logits, x, y) + beyond * (y[-1] - y[0]) / (x[-1] - x[0]))

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities (N,) of PNEUMONIA; the sigmoid is taken in float64, so that sure answers keep order."""
        return np.asarray(expit(self.logits(np.asarray(logits, np.float64))))
