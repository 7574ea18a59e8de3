"""Compare two states of a project: models, predictions, parameters and data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pneumonia.core.errors import EvidenceError
from pneumonia.core.estimate import Estimate
from pneumonia.evaluation import paired
from pneumonia.evaluation.aspect import ASPECT_SWAPPED
from pneumonia.evaluation.evaluation_report import SliceReport
from pneumonia.evaluation.paired import FIRST, SECOND
from pneumonia.evaluation.settings import BootstrapParams
from pneumonia.reports.project_state import Flat, State

SUBSETS = ("test", ASPECT_SWAPPED)
PAIRED = ("roc_auc", "accuracy", "sensitivity", "specificity")
"""Metrics with a paired difference."""

UNPAIRED = ("balanced_accuracy", "precision", "npv", "pr_auc", "brier", "ece", "loss")
"""Metrics that are compared without a paired difference."""

FIXED, REGRESSED, INDETERMINATE = "fixed", "regressed", "now indeterminate"
RESOLVED_CORRECT, RESOLVED_WRONG = "no longer indeterminate, correct", "no longer indeterminate, wrong"
OUTCOMES = (REGRESSED, FIXED, RESOLVED_WRONG, RESOLVED_CORRECT, INDETERMINATE)
"""What a changed prediction means: the class becomes correct or wrong, or it stays and enters or leaves the band."""


@dataclass(frozen=True)
class ValueChange:
    """A value that differs; None where the key is missing."""

    key: str
    base: object
    change: object


@dataclass(frozen=True)
class FigureChange:
    """A metric in both states, and the paired difference (change less base) on the common images."""

    metric: str
    base: Estimate | None
    change: Estimate | None
    difference: Estimate | None = None


@dataclass(frozen=True)
class SliceChange:
    """A metric of a slice in both states.

    Slices by cause have a paired difference. The others have none, because the predictions table does not contain the
    images of the slice.
    """

    kind: str
    name: str
    figure: FigureChange

    @property
    def moved(self) -> bool:
        """Whether the difference's interval excludes 0, or, unpaired, the new value lies outside the old interval."""
        if self.figure.difference is not None:
            return excludes_zero(self.figure.difference)
        base, change = self.figure.base, self.figure.change
        if base is None or change is None or base.low is None or base.high is None:
            return False
        return not base.low <= change.value <= base.high


@dataclass(frozen=True)
class SubsetChange:
    """The changes of a model on one subset.

    Attributes:
        subset: its name.
        images: numbers of images in the base, in the change, and in both with the same label.
        figures: metrics of `PAIRED`, then of `UNPAIRED`.
        predictions: images whose prediction changed, by outcome and path: columns path, label, outcome, and of each
            state (``_base``, ``_change``) predicted, indeterminate and probability.
        slices: those that have enough patients in both states.
    """

    subset: str
    images: tuple[int, int, int]
    figures: tuple[FigureChange, ...]
    predictions: pd.DataFrame
    slices: tuple[SliceChange, ...]

    @property
    def same_images(self) -> bool:
        """Whether both states were evaluated on the same images."""
        return len(set(self.images)) == 1


@dataclass(frozen=True)
class ModelChange:
    """A model of the change, and the model of the base that it is compared with, None where there is none."""

    base: str | None
    change: str
    subsets: tuple[SubsetChange, ...]


@dataclass(frozen=True)
class Changes:
    """All differences between two states.

    Attributes:
        challenger: the challenger of the change, compared with that of the base.
        models: every other model of the change, compared with the model of the same name.
        deleted: models that only the base has.
        params: changed values of params.yaml and operations.yaml.
        data: changed values of the reports on the images.
    """

    challenger: ModelChange
    models: tuple[ModelChange, ...]
    deleted: tuple[str, ...]
    params: tuple[ValueChange, ...]
    data: tuple[ValueChange, ...]


def compare(base: State, change: State) -> Changes:
    """Return the differences of two states, change less base.

    Raises:
        EvidenceError: the change has no challenger.
    """
    if change.challenger is None:
        raise EvidenceError(
            "reports/ of the change has no challenger with an evaluation report and predictions. "
            "Run `dvc repro` and commit reports/ with dvc.lock."
        )
    others = [
        (model if model in base.evaluations else None, model)
        for model in change.evaluations
        if (base.challenger, change.challenger) not in ((model, model), (None, model))
    ]
    return Changes(
        challenger=_compare_models(base, change, base.challenger, change.challenger),
        models=tuple(_compare_models(base, change, *names) for names in others),
        deleted=tuple(model for model in base.evaluations if model not in change.evaluations),
        params=_changed_values(base.params, change.params),
        data=_changed_values(base.data, change.data),
    )


def excludes_zero(difference: Estimate) -> bool:
    """Return whether the 95% interval of a difference excludes 0."""
    return difference.low is not None and difference.high is not None and (difference.low > 0 or difference.high < 0)


def _compare_models(base: State, change: State, before: str | None, after: str) -> ModelChange:
    subsets = [subset for subset in SUBSETS if subset in change.evaluations[after].subsets]
    if before is None:
        return ModelChange(None, after, tuple(_new_subset(change, after, subset) for subset in subsets))
    common = [subset for subset in subsets if subset in base.evaluations[before].subsets]
    return ModelChange(before, after, tuple(_compare_subsets(base, change, before, after, s) for s in common))


def _new_subset(change: State, model: str, subset: str) -> SubsetChange:
    report = change.evaluations[model].subsets[subset]
    figures = tuple(FigureChange(name, None, report.figures.get(name)) for name in (*PAIRED, *UNPAIRED))
    return SubsetChange(subset, (0, sum(report.images.values()), 0), figures, pd.DataFrame(), ())


def _compare_subsets(base: State, change: State, before: str, after: str, subset: str) -> SubsetChange:
    old, new = base.evaluations[before].subsets[subset], change.evaluations[after].subsets[subset]
    description = change.evaluations[after].bootstrap
    bootstrap = BootstrapParams(resamples=description.resamples, seed=description.seed)
    first, second = change.predictions[after], base.predictions[before]
    aligned = paired.align(first, second, subset)
    differences = paired.differences(aligned, bootstrap)
    counts = [int((predictions["subset"] == subset).sum()) for predictions in (second, first)]
    return SubsetChange(
        subset=subset,
        images=(counts[0], counts[1], len(aligned)),
        figures=tuple(
            FigureChange(name, old.figures.get(name), new.figures.get(name), differences.get(name))
            for name in (*PAIRED, *UNPAIRED)
        ),
        predictions=_changed_predictions(aligned),
        slices=tuple(_compare_slices(old.slices, new.slices, aligned, bootstrap)),
    )


def _changed_predictions(aligned: pd.DataFrame) -> pd.DataFrame:
    table = aligned.rename(columns=lambda name: name.replace(FIRST, "_change").replace(SECOND, "_base"))
    correct = table["predicted_change"] == table["label"]
    flipped = table["predicted_change"] != table["predicted_base"]
    now, before = table["indeterminate_change"], table["indeterminate_base"]
    conditions = [flipped & correct, flipped, now & ~before, before & ~now & correct, before & ~now]
    outcomes = [FIXED, REGRESSED, INDETERMINATE, RESOLVED_CORRECT, RESOLVED_WRONG]
    table["outcome"] = np.select(conditions, outcomes, "")
    changed = table[table["outcome"] != ""]
    outcome = pd.Categorical(changed["outcome"], categories=OUTCOMES, ordered=True)
    return changed.assign(outcome=outcome).sort_values(["outcome", "path"], ignore_index=True)


def _compare_slices(
    old: Mapping[str, Mapping[str, SliceReport]],
    new: Mapping[str, Mapping[str, SliceReport]],
    aligned: pd.DataFrame,
    bootstrap: BootstrapParams,
) -> Iterator[SliceChange]:
    for kind, by_name in new.items():
        for name, after in by_name.items():
            before = old.get(kind, {}).get(name)
            if before is None or before.warning or after.warning:
                continue
            differences: dict[str, Estimate] = {}
            if kind == "cause":
                among = aligned[aligned["cause"].isin(["normal", name])]
                differences = paired.differences(among.reset_index(drop=True), bootstrap)
            # all causes share the NORMAL images, and so the specificity
            for metric in ("roc_auc", "sensitivity") if kind == "cause" else ("sensitivity", "specificity"):
                figures = before.figures.get(metric), after.figures.get(metric)
                yield SliceChange(kind, name, FigureChange(metric, *figures, differences.get(metric)))


def _changed_values(base: Flat, change: Flat) -> tuple[ValueChange, ...]:
    keys = [*change, *(key for key in base if key not in change)]
    return tuple(
        ValueChange(key, base.get(key), change.get(key))
        for key in keys
        if key not in base or key not in change or base[key] != change[key]
    )
