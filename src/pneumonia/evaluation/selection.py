"""Which of several models is the best on validation."""

import math
from collections.abc import Mapping

from pneumonia.errors import TrackingError

Metrics = Mapping[str, float]


def select_best(validation: Mapping[str, Metrics], metric: str) -> str:
    """Return the model with the highest ``metric`` on validation; of equals, the first by name.

    Args:
        validation: per model, its metrics on validation.
        metric: a metric where more is better.

    Raises:
        TrackingError: there is no model, or one lacks the metric or has a value that is not finite.
    """
    if not validation:
        raise TrackingError("there is no model to choose from. Run `dvc repro evaluate` first.")
    for model, values in validation.items():
        if not math.isfinite(values.get(metric, math.nan)):
            raise TrackingError(
                f"model {model} has no usable {metric} on validation ({values.get(metric, 'missing')}). "
                f"It has {', '.join(sorted(values))}. Run `dvc repro evaluate` again, or set register.metric to one."
            )
    return max(sorted(validation), key=lambda model: validation[model][metric])
