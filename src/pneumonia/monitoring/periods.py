"""Performance over time: what was estimated for each period, what labels said later, and how far apart they were."""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
import pandas as pd

from pneumonia.config import BootstrapParams
from pneumonia.labels import CLASS_NAMES, POSITIVE
from pneumonia.monitoring.estimated import estimate
from pneumonia.monitoring.log import Log, Window
from pneumonia.monitoring.performance import Figure, measure


@dataclass(frozen=True)
class Period:
    """A stretch of predictions.

    Attributes:
        first: time of its first prediction.
        last: time of its last one.
        predictions: answered images.
        labelled: those of them that were labelled NORMAL or PNEUMONIA; ``measured`` speaks for these alone.
        measured: by the labels.
        estimated: of all answered images, from their probabilities.
        foretold: the same estimate for the labelled images alone, which can be held against ``measured``.
    """

    first: datetime
    last: datetime
    predictions: int
    labelled: int
    measured: dict[str, Figure]
    estimated: dict[str, Figure]
    foretold: dict[str, Figure]

    @property
    def missed_by(self) -> dict[str, float]:
        """How far too high the estimate was for the images that have labels now."""
        return {
            name: figure.value - self.measured[name].value
            for name, figure in self.foretold.items()
            if name in self.measured
        }


def cases(log: Log, bundle_sha256: str) -> pd.DataFrame:
    """Return the answered predictions of a model, the oldest first.

    Returns:
        Columns ``time``, ``probability``, ``called`` (bool, PNEUMONIA at the operating point), ``label`` (NORMAL,
        PNEUMONIA, or missing: not labelled, or UNSURE), ``blinded`` and ``label_time``.
    """
    window = Window(bundle_sha256=bundle_sha256)
    everything = log.window(window, ["id", "time", "status", "probability", "threshold"])
    labels = log.labelled(window, ["id"])[["id", "label", "blinded", "label_time"]]
    found = everything[everything["status"] == "answered"].merge(labels, "left", "id")
    found["label"] = found["label"].where(found["label"].isin(CLASS_NAMES))
    found["called"] = found["probability"] >= found["threshold"]
    return found[["time", "probability", "called", "label", "blinded", "label_time"]]


def targets(labelled: pd.DataFrame) -> np.ndarray:
    """Return 0 for NORMAL and 1 for PNEUMONIA (N,)."""
    return (labelled["label"] == POSITIVE).to_numpy().astype(np.int64)


def measured(found: pd.DataFrame, bootstrap: BootstrapParams) -> dict[str, Figure]:
    """Measure the model on those of `cases` that have labels."""
    labelled = found[found["label"].notna()]
    return measure(
        targets(labelled), labelled["probability"].to_numpy(), labelled["called"].to_numpy(dtype=bool), bootstrap
    )


def periods(found: pd.DataFrame, most: int, size: int, bootstrap: BootstrapParams) -> list[Period]:
    """Cut `cases` into periods of equally many predictions.

    Args:
        found: as `cases` returns them.
        most: periods, at most.
        size: predictions in each, at least; fewer in all are one period.
        bootstrap: how many resamples, and their seed.
    """
    count = min(most, max(len(found) // size, 1)) if len(found) else 0
    ends = np.linspace(0, len(found), count + 1).round().astype(int)
    parts = [found.iloc[start:end] for start, end in pairwise(ends)]
    return [_period(part, bootstrap) for part in parts]


def _period(part: pd.DataFrame, bootstrap: BootstrapParams) -> Period:
    labelled = part[part["label"].notna()]
    return Period(
        first=part["time"].iloc[0].to_pydatetime(),
        last=part["time"].iloc[-1].to_pydatetime(),
        predictions=len(part),
        labelled=len(labelled),
        measured=measured(part, bootstrap),
        estimated=_estimated(part),
        foretold=_estimated(labelled),
    )


def _estimated(part: pd.DataFrame) -> dict[str, Figure]:
    return estimate(part["probability"].to_numpy(), part["called"].to_numpy(dtype=bool))
