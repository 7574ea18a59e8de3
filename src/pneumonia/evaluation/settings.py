"""Settings of evaluation."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from pneumonia.core.settings import OpenFraction, Section


class BootstrapParams(Section):
    """Number of bootstrap resamples of patients for every interval, and their seed."""

    resamples: Annotated[int, Field(ge=100)]
    seed: NonNegativeInt


class EvaluateParams(Section):
    """How models are evaluated; a slice with fewer than ``minimum_slice`` patients of either class has a warning."""

    batch_size: PositiveInt
    bootstrap: BootstrapParams
    prevalences: Annotated[list[OpenFraction], Field(min_length=1)]
    minimum_slice: PositiveInt


class ExplainParams(Section):
    """How many cases are drawn per model and rule."""

    cases: PositiveInt
