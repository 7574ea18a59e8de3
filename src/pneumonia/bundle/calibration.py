"""Calibration: the function from a network's logits to probabilities; `bundle.calibration_fit` fits it."""

import math
from typing import get_args

import numpy as np
import pydantic.dataclasses
from numpy.typing import NDArray
from pydantic import ConfigDict

from pneumonia.bundle.settings import CalibrationMethod
from pneumonia.core.errors import BundleError


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Calibration:
    """A strictly increasing function of the logit: it changes probabilities and never the order of images.

    Attributes:
        method: ``none``, ``temperature`` or ``platt`` (logit / temperature + intercept, the intercept being 0 for
            ``temperature``), or ``isotonic`` (straight lines between knots).
        temperature: above 0; above 1 probabilities move towards 0.5.
        intercept: log-odds added to every answer.
        knots: for ``isotonic``, pairs (logit, calibrated logit), both strictly increasing, at least two. Beyond the
            outer knots the function continues with the mean slope between them.

    Examples:
        >>> Calibration("temperature", temperature=2.0).probabilities(np.array([-2.0, 0.0, 2.0])).round(3)
        array([0.269, 0.5  , 0.731])
    """

    method: CalibrationMethod = "none"
    temperature: float = 1.0
    intercept: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        """Raise a BundleError if the function is not strictly increasing."""
        if self.method == "isotonic":
            steps = np.diff(np.array(self.knots, float), axis=0)
            increasing = len(self.knots) > 1 and bool((steps > 0).all())
        else:
            increasing = 0 < self.temperature < math.inf and math.isfinite(self.intercept)
        if not increasing:
            raise BundleError(
                f"Expected a strictly increasing calibration by one of {', '.join(get_args(CalibrationMethod))}, got "
                f"{self}. Run `dvc repro -f calibrate` again."
            )

    def logits(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return calibrated log-odds (N,) of a network's logits (N,)."""
        if self.method != "isotonic":
            return np.asarray(logits / self.temperature + self.intercept)
        x, y = np.array(self.knots).T
        beyond = np.minimum(logits - x[0], 0) + np.maximum(logits - x[-1], 0)
        return np.asarray(np.interp(logits, x, y) + beyond * (y[-1] - y[0]) / (x[-1] - x[0]))

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities of PNEUMONIA (N,), 0 to 1, of a network's logits (N,).

        The sigmoid is computed in float64, so that logits far from 0 keep their order.
        """
        from scipy.special import expit  # takes 0.3 s to import

        return np.asarray(expit(self.logits(np.asarray(logits, np.float64))))
