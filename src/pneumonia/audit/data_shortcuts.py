"""Audit a dataset for shortcuts: can the classes be separated without using the lungs?

Three kinds of predictors do not use the lungs: each file property alone, a classifier of all file properties, and a
classifier of the outermost frame of the image. The classifiers are trained on development and predict it out of fold.
An AUC of 0.5 means no separation. The alarm is raised where an interval lies beyond the limit, which requires both a
relevant effect and enough patients. The intervals hold simultaneously: their level is raised by Bonferroni's
correction for the number of AUCs that can raise the alarm.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from pneumonia.audit.audit_report import PARTS, DataAudit, PredictorAuc, PredictorAudit
from pneumonia.audit.settings import AuditParams
from pneumonia.core.estimate import Estimate
from pneumonia.core.labels import CLASS_NAMES, POSITIVE, target
from pneumonia.evaluation import intervals
from pneumonia.evaluation.settings import BootstrapParams

Array = NDArray[np.float64]

FILE_PROPERTIES = ("width", "height", "megapixels", "aspect", "mode", "jpeg_quality")
"""Properties of how a file was made; they should not predict the class."""

CONTENT_DEPENDENT = ("bytes", "bytes_per_megapixel")
"""Properties that also depend on the content of the image: an opacity is smoother than a clear lung and takes fewer
bytes. They are reported and raise no alarm."""

LOSSLESS = 101.0
"""JPEG quality assigned to files that are not JPEG."""

CELLS = 8
"""Number of cells per side of the frame."""


def audit(
    images: NDArray[np.uint8],
    index: pd.DataFrame,
    metadata: pd.DataFrame,
    params: AuditParams,
    bootstrap: BootstrapParams,
) -> DataAudit:
    """Return the audit of a dataset.

    Args:
        images: decoded images, uint8, shape (N, size, size).
        index: N rows of splits.parquet: ``path``, ``label``, ``group``, ``fold`` and ``subset``.
        metadata: from `data.header_metadata.header_metadata`, for all paths of the index.
        params: width of the frame, and the limit.
        bootstrap: number of resamples of patients, and their seed.
    """
    properties = numeric(metadata.loc[index["path"]])
    features = {
        "header": properties[list(FILE_PROPERTIES)].to_numpy(),
        "border": frame_features(images, params.border),
    }
    scores = properties[[*FILE_PROPERTIES, *CONTENT_DEPENDENT]].assign(
        **{name: _classifier_scores(values, index) for name, values in features.items()}
    )
    test = index["subset"].eq("test").to_numpy()
    rows = dict(zip(PARTS, (~test, test), strict=True))
    level = 1 - (1 - intervals.LEVEL) / (len(rows) * (len(FILE_PROPERTIES) + len(features)))
    aucs = {part: _aucs(scores[mask], index[mask], level, bootstrap) for part, mask in rows.items()}
    predictors = {
        name: _audit_predictor(name, aucs["development"][name], aucs["test"][name], params.data_limit)
        for name in scores.columns.astype(str)
    }
    return DataAudit(
        alarm=any(predictor.on(part).alarm for predictor in predictors.values() for part in PARTS),
        limit=params.data_limit,
        border=params.border,
        level=level,
        images={part: int(mask.sum()) for part, mask in rows.items()},
        patients={part: int(index.loc[mask, "group"].nunique()) for part, mask in rows.items()},
        predictors=predictors,
    )


def numeric(metadata: pd.DataFrame) -> pd.DataFrame:
    """Return header metadata as numbers.

    ``mode`` is 1 where it is not the most frequent one; ``jpeg_quality`` is `LOSSLESS` where a file is not JPEG.
    """
    usual_mode = metadata["mode"].mode()[0]
    quality = metadata["jpeg_quality"].fillna(LOSSLESS)
    return metadata.assign(mode=metadata["mode"].ne(usual_mode), jpeg_quality=quality).astype("float64")


def frame_features(images: NDArray[np.uint8], border: float) -> Array:
    """Return mean and standard deviation of each cell of the outermost frame, shape (N, 8 * CELLS).

    Args:
        images: decoded images, shape (N, size, size).
        border: width of the frame as a share of the size, narrow enough to exclude the lungs.
    """
    width = max(1, round(border * images.shape[1]))
    sides = (
        images[:, :width],
        images[:, -width:],
        images[:, width:-width, :width].swapaxes(1, 2),
        images[:, width:-width, -width:].swapaxes(1, 2),
    )
    cells = [cell.astype(np.float32) for side in sides for cell in np.array_split(side, CELLS, axis=2)]
    return np.stack([value for cell in cells for value in (cell.mean((1, 2)), cell.std((1, 2)))], axis=1)


def _classifier_scores(features: Array, index: pd.DataFrame) -> Array:
    """Return the scores of a boosted-tree classifier: out of fold for development, then for test."""
    classifier = HistGradientBoostingClassifier(
        max_iter=50, max_leaf_nodes=8, min_samples_leaf=10, early_stopping=False, random_state=0
    )
    development = index["subset"].ne("test").to_numpy()
    training = features[development], _targets(index[development])
    folds = PredefinedSplit(index.loc[development, "fold"])
    scores = np.empty(len(features))
    scores[development] = cross_val_predict(classifier, *training, cv=folds, method="predict_proba")[:, 1]
    scores[~development] = classifier.fit(*training).predict_proba(features[~development])[:, 1]
    return scores


def _targets(index: pd.DataFrame) -> NDArray[np.integer]:
    return index["label"].map(target).to_numpy(int)


def _aucs(
    scores: pd.DataFrame, index: pd.DataFrame, level: float, bootstrap: BootstrapParams
) -> dict[str, tuple[float, float, float]]:
    """Return AUC and both ends of its interval at a level for each column."""
    targets, groups = _targets(index), index["group"].to_numpy()
    statistics = {str(name): intervals.roc_auc(targets, scores[name].to_numpy()) for name in scores}
    blocks = [[auc(weights) for auc in statistics.values()] for weights in intervals.resampled(groups, bootstrap)]
    ends = np.nanquantile(np.concatenate(blocks, axis=1), [(1 - level) / 2, (1 + level) / 2], axis=1)
    everything = np.ones((1, len(index)))
    return {
        name: (float(auc(everything)[0]), float(low), float(high))
        for (name, auc), low, high in zip(statistics.items(), *ends, strict=True)
    }


def _audit_predictor(
    name: str, development: tuple[float, float, float], test: tuple[float, float, float], limit: float
) -> PredictorAudit:
    """Orient the AUCs of a property so that it is above 0.5 in development, and compare them with the limit.

    The scores of a classifier are oriented already.
    """
    lower = name in (*FILE_PROPERTIES, *CONTENT_DEPENDENT) and development[0] < 0.5
    can_alarm = name not in CONTENT_DEPENDENT

    def part(auc: float, low: float, high: float) -> PredictorAuc:
        auc, low, high = (1 - auc, 1 - high, 1 - low) if lower else (auc, low, high)
        beyond = low > limit or high < 1 - limit
        return PredictorAuc(auc=Estimate(auc, low, high).rounded(), alarm=can_alarm and beyond)

    return PredictorAudit(
        can_alarm=can_alarm,
        higher_in=CLASS_NAMES[0] if lower else POSITIVE,
        development=part(*development),
        test=part(*test),
    )
