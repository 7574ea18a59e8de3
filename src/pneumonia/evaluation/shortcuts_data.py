"""What the data allows: can the classes be told apart without looking at a lung?

Three witnesses that see no lung: each header fact alone, a classifier of all header facts, and a classifier of the
outermost frame of the picture. The classifiers learn from development; there they answer out of fold. An AUC of 0.5
says that a witness knows nothing. The alarm goes off where an interval lies beyond the limit, so that it takes both an
effect worth naming and enough patients to be sure of it. The intervals hold together: their level is raised by
Bonferroni's correction for the number of figures that can raise the alarm.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from pneumonia.config import AuditParams, BootstrapParams
from pneumonia.evaluation import intervals
from pneumonia.labels import CLASS_NAMES, POSITIVE, target

Array = NDArray[np.float64]

MADE = ("width", "height", "megapixels", "aspect", "mode", "jpeg_quality")
"""Facts of how a file was made: they should not know the class."""

CONTENT = ("bytes", "bytes_per_megapixel")
"""Facts that follow what is in the picture as well: an opacity is smoother than a clear lung and takes fewer bytes.
They are reported and raise no alarm."""

LOSSLESS = 101.0
"""Stands for the JPEG quality of a file that is no JPEG."""

CELLS = 8
"""The frame is seen as so many cells on each side."""


def audit(
    images: NDArray[np.uint8],
    index: pd.DataFrame,
    facts: pd.DataFrame,
    params: AuditParams,
    bootstrap: BootstrapParams,
) -> dict[str, Any]:
    """Judge a dataset.

    Args:
        images: (N, size, size) uint8, decoded.
        index: N rows of splits.parquet: ``path``, ``label``, ``group``, ``fold`` and ``subset``.
        facts: as `header_facts` returns them, of all paths of the index.
        params: width of the frame, and the limit.
        bootstrap: resamples of patients.

    Returns:
        ``alarm``; ``limit``; ``level`` of the intervals; ``images`` and ``patients`` of ``development`` and ``test``;
        and ``witnesses``, by name: ``can_alarm``, ``higher_in`` (the class that has higher values in development) and
        for ``development`` and ``test`` the AUC turned that way: ``auc``, ``low``, ``high`` and ``alarm``.
    """
    header = numeric(facts.loc[index["path"]])
    features = {"header": header[list(MADE)].to_numpy(), "border": frame_features(images, params.border)}
    answers = header[[*MADE, *CONTENT]].assign(**{name: _learnt(seen, index) for name, seen in features.items()})
    test = index["subset"].eq("test").to_numpy()
    parts = {"development": ~test, "test": test}
    level = 1 - (1 - intervals.LEVEL) / (len(parts) * (len(MADE) + len(features)))
    told = {part: _aucs(answers[rows], index[rows], level, bootstrap) for part, rows in parts.items()}
    witnesses = {
        name: _judged(name, {part: figures[name] for part, figures in told.items()}, params.data_limit)
        for name in answers.columns.astype(str)
    }
    return {
        "alarm": any(witness[part]["alarm"] for witness in witnesses.values() for part in parts),
        "limit": params.data_limit,
        "level": level,
        "images": {part: int(rows.sum()) for part, rows in parts.items()},
        "patients": {part: int(index.loc[rows, "group"].nunique()) for part, rows in parts.items()},
        "witnesses": witnesses,
    }


def numeric(facts: pd.DataFrame) -> pd.DataFrame:
    """Return header facts as numbers: ``mode`` is 1 where it is not the usual one, no JPEG counts as `LOSSLESS`."""
    usual = facts["mode"].mode()[0]
    numbers = facts.assign(mode=facts["mode"].ne(usual), jpeg_quality=facts["jpeg_quality"].fillna(LOSSLESS))
    return numbers.astype("float64")


def frame_features(images: NDArray[np.uint8], border: float) -> Array:
    """Return mean and standard deviation of each of the cells of the outermost frame, (N, 8 * CELLS).

    Args:
        images: (N, size, size).
        border: width of the frame as a share of the size; narrow enough that no lung reaches it.
    """
    width = max(1, round(border * images.shape[1]))
    sides = (
        images[:, :width],
        images[:, -width:],
        images[:, width:-width, :width].swapaxes(1, 2),
        images[:, width:-width, -width:].swapaxes(1, 2),
    )
    cells = [cell.astype(np.float32) for side in sides for cell in np.array_split(side, CELLS, axis=2)]
    return np.stack([figure for cell in cells for figure in (cell.mean((1, 2)), cell.std((1, 2)))], axis=1)


def _learnt(features: Array, index: pd.DataFrame) -> Array:
    """Return what a boosted-tree classifier of the features answers: out of fold for development, then for test."""
    classifier = HistGradientBoostingClassifier(
        max_iter=50, max_leaf_nodes=8, min_samples_leaf=10, early_stopping=False, random_state=0
    )
    development = index["subset"].ne("test").to_numpy()
    learnt = features[development], _targets(index[development])
    folds = PredefinedSplit(index.loc[development, "fold"])
    answers = np.empty(len(features))
    answers[development] = cross_val_predict(classifier, *learnt, cv=folds, method="predict_proba")[:, 1]
    answers[~development] = classifier.fit(*learnt).predict_proba(features[~development])[:, 1]
    return answers


def _targets(index: pd.DataFrame) -> NDArray[np.integer]:
    return index["label"].map(target).to_numpy(int)


def _aucs(
    answers: pd.DataFrame, index: pd.DataFrame, level: float, bootstrap: BootstrapParams
) -> dict[str, dict[str, float]]:
    """Return AUC and its interval at a level for each column; one that no resample changes is its own interval."""
    targets, groups = _targets(index), index["group"].to_numpy()
    statistics = {str(name): intervals.roc_auc(targets, answers[name].to_numpy()) for name in answers}
    blocks = [[auc(weights) for auc in statistics.values()] for weights in intervals.resampled(groups, bootstrap)]
    ends = np.nanquantile(np.concatenate(blocks, axis=1), [(1 - level) / 2, (1 + level) / 2], axis=1)
    everything = np.ones((1, len(index)))
    return {
        name: {"auc": float(auc(everything)[0]), "low": float(low), "high": float(high)}
        for (name, auc), low, high in zip(statistics.items(), *ends, strict=True)
    }


def _judged(name: str, told: dict[str, dict[str, float]], limit: float) -> dict[str, Any]:
    """Turn the AUCs of a fact so that it is above 0.5 in development, and hold them against the limit.

    A classifier has turned its answers itself.
    """
    lower = name in (*MADE, *CONTENT) and told["development"]["auc"] < 0.5
    can_alarm = name not in CONTENT
    judged: dict[str, Any] = {"can_alarm": can_alarm, "higher_in": CLASS_NAMES[0] if lower else POSITIVE}
    for part, figure in told.items():
        turned = _turned(figure) if lower else figure
        beyond = turned["low"] > limit or turned["high"] < 1 - limit
        judged[part] = {key: round(value, intervals.DECIMALS) for key, value in turned.items()}
        judged[part]["alarm"] = can_alarm and beyond
    return judged


def _turned(figure: dict[str, float]) -> dict[str, float]:
    return {"auc": 1 - figure["auc"], "low": 1 - figure["high"], "high": 1 - figure["low"]}
