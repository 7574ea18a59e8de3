"""The table of a model's predictions, reports/predictions/<model>.csv: one row per subset and image."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pneumonia.bundle.bundle import Card
from pneumonia.core.errors import EvidenceError
from pneumonia.core.estimate import DECIMALS
from pneumonia.core.labels import CLASS_NAMES

if TYPE_CHECKING:  # imports scikit-learn, which readers of predictions do not need
    from pneumonia.evaluation.evaluate import ScoredImages

COLUMNS = ("path", "subset", "label", "cause", "group", "logit", "probability", "predicted", "indeterminate")


def predictions_table(card: Card, subsets: "Mapping[str, ScoredImages]") -> pd.DataFrame:
    """Return the predictions of a model, with `COLUMNS`.

    ``logit`` is the network output and ``probability`` the calibrated probability, both with six decimals;
    ``predicted`` is the class at the operating point, ``indeterminate`` whether the probability is in the band.
    """
    names = np.array(CLASS_NAMES)
    tables = []
    for subset, images in subsets.items():
        scores = images.scores(card)
        tables.append(
            pd.DataFrame(
                {
                    "path": images.metadata.index,
                    "subset": subset,
                    "label": names[images.targets],
                    "cause": images.causes,
                    "group": images.groups,
                    "logit": images.logits.round(DECIMALS),
                    "probability": scores.probabilities.round(DECIMALS),
                    "predicted": names[scores.called],
                    "indeterminate": card.band.holds(scores.probabilities),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def read_predictions(path: Path) -> pd.DataFrame:
    """Return a table that `predictions_table` made and a stage wrote as CSV.

    Raises:
        EvidenceError: the file is missing, is not CSV, or lacks a column.
    """
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise EvidenceError(f"{path} is missing. Run `dvc repro`, or restore it with git.") from None
    except ValueError as error:
        raise EvidenceError(f"{path} cannot be read: {error}. Restore it with git, or run `dvc repro`.") from None
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise EvidenceError(f"{path} lacks the columns {', '.join(missing)}. Run `dvc repro evaluate`.")
    return table
