"""Settings of calibration and operating point."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field, NonNegativeInt

from pneumonia.core.settings import OpenFraction, Section

CalibrationMethod = Literal["none", "temperature", "platt", "isotonic"]


class BandParams(Section):
    """The indeterminate band: sensitivity at its lower end and specificity at its upper end, on validation images."""

    sensitivity: OpenFraction
    specificity: OpenFraction


class OperatingPointParams(Section):
    """Minimum sensitivity of the operating point on validation images, and the indeterminate band around it."""

    minimum_sensitivity: OpenFraction
    band: BandParams

    @pydantic.model_validator(mode="after")
    def _band_is_wider(self) -> "OperatingPointParams":
        if self.band.sensitivity < self.minimum_sensitivity:
            raise ValueError(
                f"band.sensitivity must be no less than minimum_sensitivity ({self.minimum_sensitivity}), "
                f"not {self.band.sensitivity}"
            )
        return self


class CalibrateParams(Section):
    """Candidate calibration methods, their seed, and the operating point policy."""

    seed: NonNegativeInt
    methods: Annotated[list[CalibrationMethod], Field(min_length=1)]
    operating_point: OperatingPointParams
