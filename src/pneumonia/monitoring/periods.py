"""Performance over time: metrics by labels, metrics estimated without labels, and the error of the estimate."""

from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import AwareDatetime

from pneumonia.core.labels import CLASS_NAMES, POSITIVE
from pneumonia.core.model import FrozenModel
from pneumonia.evaluation.settings import BootstrapParams
from pneumonia.monitoring.log import Log, Window
from pneumonia.monitoring.performance import Metric, measure
from pneumonia.monitoring.performance_estimation import estimate_metrics


class Period(FrozenModel):
    """Performance in one period.

    Attributes:
        first: time of the first prediction.
        last: time of the last prediction.
        predictions: number of answered images.
        labelled: number of answered images with the label NORMAL or PNEUMONIA.
        measured: metrics of the labelled images, by their labels.
        estimated: metrics of all answered images, estimated from their probabilities.
        estimation_error: estimated minus measured value, both of the labelled images, by metric.
    """

    first: AwareDatetime
    last: AwareDatetime
    predictions: int
    labelled: int
    measured: dict[str, Metric]
    estimated: dict[str, Metric]
    estimation_error: dict[str, float]


def answered_predictions(log: Log, bundle_sha256: str) -> pd.DataFrame:
    """Return the answered predictions of a model with their labels, the oldest first.

    Returns:
        Columns ``time``, ``probability``, ``called`` (whether it is PNEUMONIA at the operating point), ``label``
        (NORMAL, PNEUMONIA, or missing: no label, or UNSURE), ``blinded`` and ``label_time``.
    """
    window = Window(bundle_sha256=bundle_sha256)
    logged = log.window(window, ["id", "time", "status", "probability", "threshold"])
    labels = log.labelled(window, ["id"])[["id", "label", "blinded", "label_time"]]
    answered = logged[logged["status"] == "answered"].merge(labels, "left", "id")
    answered["label"] = answered["label"].where(answered["label"].isin(CLASS_NAMES))
    answered["called"] = answered["probability"] >= answered["threshold"]
    return answered[["time", "probability", "called", "label", "blinded", "label_time"]]


def measure_labelled(predictions: pd.DataFrame, bootstrap: BootstrapParams) -> dict[str, Metric]:
    """Return the metrics of those `answered_predictions` that have labels."""
    labelled = predictions[predictions["label"].notna()]
    probabilities, called = _arrays(labelled)
    targets = (labelled["label"] == POSITIVE).to_numpy().astype(np.int64)
    return measure(targets, probabilities, called, bootstrap)


def by_period(
    predictions: pd.DataFrame, maximum_periods: int, minimum_size: int, bootstrap: BootstrapParams
) -> tuple[Period, ...]:
    """Return the performance in consecutive periods with equally many predictions.

    Args:
        predictions: as `answered_predictions` returns them.
        maximum_periods: largest number of periods.
        minimum_size: smallest number of predictions in a period; if there are fewer in all, there is one period.
        bootstrap: number of resamples and seed.
    """
    count = min(maximum_periods, max(len(predictions) // minimum_size, 1)) if len(predictions) else 0
    ends = np.linspace(0, len(predictions), count + 1).round().astype(int)
    return tuple(_period(predictions.iloc[start:end], bootstrap) for start, end in pairwise(ends))


def _period(part: pd.DataFrame, bootstrap: BootstrapParams) -> Period:
    labelled = part[part["label"].notna()]
    measured = measure_labelled(part, bootstrap)
    estimated_on_labelled = estimate_metrics(*_arrays(labelled))
    return Period(
        first=part["time"].iloc[0].to_pydatetime(),
        last=part["time"].iloc[-1].to_pydatetime(),
        predictions=len(part),
        labelled=len(labelled),
        measured=measured,
        estimated=estimate_metrics(*_arrays(part)),
        estimation_error={
            name: metric.value - measured[name].value
            for name, metric in estimated_on_labelled.items()
            if name in measured
        },
    )


def _arrays(predictions: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return predictions["probability"].to_numpy(np.float64), predictions["called"].to_numpy(dtype=bool)
