"""Select the best of several models."""

import math
from collections.abc import Mapping

from pneumonia.core.errors import EvidenceError

Metrics = Mapping[str, float]


def select_best(models: Mapping[str, Metrics], metric: str) -> str:
    """Return the model with the highest value of a metric; of equals, the first by name.

    Args:
        models: by model, its metrics on the subset that decides.
        metric: a metric of which higher is better.

    Raises:
        EvidenceError: there is no model, or a model lacks the metric or has a value that is not finite.

    Examples:
        >>> select_best({"cnn": {"roc_auc": 0.98}, "probe": {"roc_auc": 0.83}}, "roc_auc")
        'cnn'
    """
    if not models:
        raise EvidenceError("there is no model to choose from. Run `dvc repro evaluate` first.")
    for model, values in models.items():
        if not math.isfinite(values.get(metric, math.nan)):
            raise EvidenceError(
                f"model {model} has no finite {metric} ({values.get(metric, 'missing')}). It has "
                f"{', '.join(sorted(values))}. Run `dvc repro evaluate` again, or set register.metric to one of these."
            )
    return max(sorted(models), key=lambda model: models[model][metric])
