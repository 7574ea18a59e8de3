"""What a change does to the models, their data and their parameters: the records of two states, compared.

The records are those that `dvc repro` leaves in reports/; see `State`. Nothing here knows of git or DVC.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from pneumonia.config import BootstrapParams
from pneumonia.errors import EvidenceError
from pneumonia.evaluation import paired
from pneumonia.evaluation.intervals import Estimate
from pneumonia.evaluation.paired import FIRST, SECOND

SUBSETS = ("test", "swapped")
PAIRED = ("roc_auc", "accuracy", "sensitivity", "specificity")
ALONE = ("balanced_accuracy", "precision", "npv", "pr_auc", "brier", "ece", "loss")
"""Figures of which each state has its own interval, and the difference none."""

MENDED, BROKEN, DOUBTED = "mended", "broken", "now indeterminate"
SETTLED_RIGHT, SETTLED_WRONG = "no longer indeterminate, right", "no longer indeterminate, wrong"
FATES = (BROKEN, MENDED, SETTLED_WRONG, SETTLED_RIGHT, DOUBTED)
"""What becomes of an image: its class turns from right to wrong or back; or stays, and enters or leaves the band."""

Flat = Mapping[str, Any]
"""Nested content by dotted key."""


@dataclass(frozen=True)
class State:
    """What a project says of itself at one moment.

    Attributes:
        params: params.yaml, flat.
        data: what the reports say of the images, flat: where they come from, hashes, counts.
        challenger: the registered model, None where there is none.
        judgements: reports/judgement/<model>.json by model.
        predictions: reports/predictions/<model>.csv by model; the same models.
    """

    params: Flat
    data: Flat
    challenger: str | None
    judgements: Mapping[str, Mapping[str, Any]]
    predictions: Mapping[str, pd.DataFrame]

    @classmethod
    def read(cls, root: Path) -> "State":
        """Read the state of a project from its folder; what is not there is left out.

        Raises:
            EvidenceError: a file is not what it should be.
        """
        reports = root / "reports"
        registered = _read(reports / "registered.json")
        predictions = {file.stem: _read_table(file) for file in sorted((reports / "predictions").glob("*.csv"))}
        judgements = {file.stem: _read(file) for file in sorted((reports / "judgement").glob("*.json"))}
        models = predictions.keys() & judgements.keys()
        challenger = registered.get("model")
        return cls(
            params=_flat(_read(root / "params.yaml")),
            data=_data(root, registered),
            challenger=challenger if challenger in models else None,
            judgements={model: judgements[model] for model in sorted(models)},
            predictions={model: predictions[model] for model in sorted(models)},
        )


@dataclass(frozen=True)
class ValueChange:
    """A value that is another one now; None where the key is missing."""

    key: str
    base: Any
    change: Any


@dataclass(frozen=True)
class FigureChange:
    """A figure before and after, and the paired difference (after less before) on the common images."""

    figure: str
    base: Estimate | None
    change: Estimate | None
    difference: Estimate | None = None


@dataclass(frozen=True)
class SliceChange:
    """A figure of a slice before and after; cause slices have a paired difference, the others none.

    The predictions do not tell which images are in the other slices.
    """

    kind: str
    name: str
    found: FigureChange

    @property
    def moved(self) -> bool:
        """Whether the difference's interval excludes 0, or, unpaired, the new value lies outside the old interval."""
        if self.found.difference is not None:
            return excludes_zero(self.found.difference)
        base, change = self.found.base, self.found.change
        if base is None or change is None or base.low is None or base.high is None:
            return False
        return not base.low <= change.value <= base.high


@dataclass(frozen=True)
class SubsetChange:
    """What a model's change does on one subset.

    Attributes:
        subset: its name.
        images: how many the base, the change, and both (with the same label) were judged on.
        figures: `PAIRED`, then `ALONE`.
        answers: the images answered otherwise, by fate and path: columns path, label, fate, and of either state
            (``_base``, ``_change``) predicted, indeterminate and probability.
        slices: that both states have with enough patients.
    """

    subset: str
    images: tuple[int, int, int]
    figures: tuple[FigureChange, ...]
    answers: pd.DataFrame
    slices: tuple[SliceChange, ...]

    @property
    def same_images(self) -> bool:
        """Whether both states were judged on the same images."""
        return len(set(self.images)) == 1


@dataclass(frozen=True)
class ModelChange:
    """A model before, None where there is none to compare with, and after."""

    base: str | None
    change: str
    subsets: tuple[SubsetChange, ...]


@dataclass(frozen=True)
class Changes:
    """All that is new.

    Attributes:
        challenger: the base's challenger against the change's.
        models: every other model of the change, against that of the same name; those that are new have no base.
        deleted: models that the base alone has.
        params: values of params.yaml.
        data: what the reports say of the images.
    """

    challenger: ModelChange
    models: tuple[ModelChange, ...]
    deleted: tuple[str, ...]
    params: tuple[ValueChange, ...]
    data: tuple[ValueChange, ...]


def compare(base: State, change: State) -> Changes:
    """Compare two states; differences are the change's less the base's.

    Raises:
        EvidenceError: the change has no challenger.
    """
    if change.challenger is None:
        raise EvidenceError(
            "reports/ of the change names no challenger with a judgement and predictions. "
            "Run `dvc repro` and commit reports/ with dvc.lock."
        )
    others = [
        (model if model in base.judgements else None, model)
        for model in change.judgements
        if (base.challenger, change.challenger) not in ((model, model), (None, model))
    ]
    return Changes(
        challenger=_compare_models(base, change, base.challenger, change.challenger),
        models=tuple(_compare_models(base, change, *names) for names in others),
        deleted=tuple(model for model in base.judgements if model not in change.judgements),
        params=_differing(base.params, change.params),
        data=_differing(base.data, change.data),
    )


def excludes_zero(difference: Estimate) -> bool:
    """Return whether a difference is one, by its 95% interval."""
    return difference.low is not None and difference.high is not None and (difference.low > 0 or difference.high < 0)


def _compare_models(base: State, change: State, before: str | None, after: str) -> ModelChange:
    subsets = [subset for subset in SUBSETS if subset in change.judgements[after]["subsets"]]
    if before is None:
        return ModelChange(None, after, tuple(_new(change, after, subset) for subset in subsets))
    pairs = [subset for subset in subsets if subset in base.judgements[before]["subsets"]]
    return ModelChange(before, after, tuple(_compare_subsets(base, change, before, after, s) for s in pairs))


def _new(change: State, model: str, subset: str) -> SubsetChange:
    judged = change.judgements[model]["subsets"][subset]
    figures = tuple(FigureChange(name, None, _figure(judged, name)) for name in (*PAIRED, *ALONE))
    return SubsetChange(subset, (0, sum(judged["images"].values()), 0), figures, pd.DataFrame(), ())


def _compare_subsets(base: State, change: State, before: str, after: str, subset: str) -> SubsetChange:
    old, new = (state.judgements[model]["subsets"][subset] for state, model in ((base, before), (change, after)))
    told = change.judgements[after]["bootstrap"]
    bootstrap = BootstrapParams(resamples=told["resamples"], seed=told["seed"])
    first, second = change.predictions[after], base.predictions[before]
    aligned = paired.align(first, second, subset)
    differences = paired.differences(aligned, bootstrap)
    judged = [int((predictions["subset"] == subset).sum()) for predictions in (second, first)]
    return SubsetChange(
        subset=subset,
        images=(judged[0], judged[1], len(aligned)),
        figures=tuple(
            FigureChange(name, _figure(old, name), _figure(new, name), differences.get(name))
            for name in (*PAIRED, *ALONE)
        ),
        answers=_changed_answers(aligned),
        slices=tuple(_compare_slices(old["slices"], new["slices"], aligned, bootstrap)),
    )


def _changed_answers(aligned: pd.DataFrame) -> pd.DataFrame:
    answers = aligned.rename(columns=lambda name: name.replace(FIRST, "_change").replace(SECOND, "_base"))
    right = answers["predicted_change"] == answers["label"]
    turned = answers["predicted_change"] != answers["predicted_base"]
    doubted, was_doubted = answers["indeterminate_change"], answers["indeterminate_base"]
    cases = [turned & right, turned, doubted & ~was_doubted, was_doubted & ~doubted & right, was_doubted & ~doubted]
    answers["fate"] = np.select(cases, [MENDED, BROKEN, DOUBTED, SETTLED_RIGHT, SETTLED_WRONG], "")
    changed = answers[answers["fate"] != ""]
    fate = pd.Categorical(changed["fate"], categories=FATES, ordered=True)
    return changed.assign(fate=fate).sort_values(["fate", "path"], ignore_index=True)


def _compare_slices(
    old: Mapping[str, Any], new: Mapping[str, Any], aligned: pd.DataFrame, bootstrap: BootstrapParams
) -> Iterator[SliceChange]:
    for kind, by_name in new.items():
        for name, judged in by_name.items():
            before = old.get(kind, {}).get(name)
            if before is None or before["warning"] or judged["warning"]:
                continue
            differences = {}
            if kind == "cause":
                among = aligned[aligned["cause"].isin(["normal", name])]
                differences = paired.differences(among.reset_index(drop=True), bootstrap)
            # all causes share the NORMAL images, and with them the specificity
            for figure in ("roc_auc", "sensitivity") if kind == "cause" else ("sensitivity", "specificity"):
                found = FigureChange(figure, _figure(before, figure), _figure(judged, figure), differences.get(figure))
                yield SliceChange(kind, name, found)


def _figure(judged: Mapping[str, Any], name: str) -> Estimate | None:
    figure = judged["figures"].get(name)
    return None if figure is None else Estimate(**figure)


def _data(root: Path, registered: Mapping[str, Any]) -> Flat:
    """Return what is known of the images; of long lists (missing files, duplicates) their lengths."""
    pinned = _read(root / "data.dvc").get("outs", [{}])[0].get("md5")
    told = {
        "source": registered.get("source"),
        "data_hash": registered.get("data_hash"),
        "definition": pinned,
        **{name: _read(root / f"reports/{name}.json") for name in ("download", "validation", "split")},
    }
    told["validation"].pop("results", None)
    flat = {key: len(value) if isinstance(value, list) else value for key, value in _flat(told).items()}
    return {key: value for key, value in flat.items() if value is not None}


def _differing(base: Flat, change: Flat) -> tuple[ValueChange, ...]:
    keys = [*change, *(key for key in base if key not in change)]
    return tuple(
        ValueChange(key, base.get(key), change.get(key))
        for key in keys
        if key not in base or key not in change or base[key] != change[key]
    )


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _read(path: Path) -> dict[str, Any]:
    """Read JSON or YAML; what is not there is empty."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise EvidenceError(f"{path} cannot be read: {error}. Restore it with git, or run `dvc repro`.") from None
    if not isinstance(content, dict):
        raise EvidenceError(f"{path} should hold keys and values. Restore it with git, or run `dvc repro`.")
    return content


def _read_table(path: Path) -> pd.DataFrame:
    columns = {"path", "subset", "label", "cause", "group", "probability", "predicted", "indeterminate"}
    try:
        table = pd.read_csv(path)
    except ValueError as error:
        raise EvidenceError(f"{path} cannot be read: {error}. Restore it with git, or run `dvc repro`.") from None
    if missing := columns - set(table.columns):
        raise EvidenceError(f"{path} lacks the columns {', '.join(sorted(missing))}. Run `dvc repro evaluate`.")
    return table
