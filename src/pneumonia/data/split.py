"""Split a dataset by patient: the official test set unchanged, and stratified folds of the other images."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from pneumonia.core.errors import SplitError
from pneumonia.core.labels import CLASS_NAMES, SUBSETS
from pneumonia.data.dataset_reports import SplitReport
from pneumonia.data.settings import SplitParams

TEST_FOLD = -1
NAMES_SHOWN = 5


def split(manifest: pd.DataFrame, params: SplitParams) -> pd.DataFrame:
    """Assign every usable image to a group, a fold and a subset; the order of the rows does not matter.

    A group has the images of one patient, merged with the groups of patients that share an identical file. The
    ``test`` images of the release are the test subset; its ``train`` and ``val`` images are divided into
    ``params.folds`` folds, stratified by cause, with every group in one fold (scikit-learn's `StratifiedGroupKFold`).
    Without a test set in the release, the last fold becomes the test subset.

    Args:
        manifest: as `manifest.build` returns it; rows with a problem are left out.
        params: seed, number of folds, and the validation fold.

    Returns:
        Columns ``path``, ``sha256``, ``label``, ``cause``, ``patient``, ``group`` (0, 1, ...), ``fold`` (0 to
        folds - 1, -1 for test) and ``subset`` (one of ``labels.SUBSETS``), sorted by path.

    Raises:
        SplitError: a group is both in test and outside of it, there are too few groups for the folds, or the
            validation fold is needed as test set.

    Examples:
        >>> images = [(f"train/{label}/{n}.png", label, n) for label in CLASS_NAMES for n in range(4)]
        >>> manifest = pd.DataFrame(images, columns=["path", "label", "patient"]).assign(
        ...     sha256=lambda rows: rows["path"], cause=lambda rows: rows["label"], release_split="train", problem=""
        ... )
        >>> manifest["patient"] = manifest["label"] + manifest["patient"].astype(str)
        >>> split(manifest, SplitParams(seed=1, folds=4, validation_fold=0))["subset"].value_counts().to_dict()
        {'train': 4, 'validation': 2, 'test': 2}
    """
    images = manifest[manifest["problem"] == ""].sort_values("path", ignore_index=True)
    images["group"] = _groups(images)
    official_test = images["release_split"].eq("test")
    _refuse_leaks(images, official_test)
    if not official_test.any():
        _refuse_too_few_folds(params)
    development = images[~official_test]
    _refuse_too_few_groups(development, params.folds)

    images["fold"] = TEST_FOLD
    images.loc[~official_test, "fold"] = _folds(development, params)
    if not official_test.any():
        images["fold"] = images["fold"].replace(params.folds - 1, TEST_FOLD)
    images["subset"] = np.select(
        [images["fold"].eq(TEST_FOLD), images["fold"].eq(params.validation_fold)], ["test", "validation"], "train"
    )
    images["subset"] = images["subset"].astype("str")
    _refuse_missing_classes(images)
    return images[["path", "sha256", "label", "cause", "patient", "group", "fold", "subset"]]


def summary(splits: pd.DataFrame) -> SplitReport:
    """Count the images, groups and folds that `split` assigned."""
    official = splits.loc[splits["subset"] == "test", "path"].str.startswith("test/").all()
    folds = splits.loc[splits["fold"] != TEST_FOLD, "fold"].value_counts().sort_index()
    return SplitReport(
        images={subset: _counts(splits[splits["subset"] == subset]) for subset in SUBSETS},
        groups={subset: int(splits.loc[splits["subset"] == subset, "group"].nunique()) for subset in SUBSETS},
        folds={str(fold): int(size) for fold, size in folds.items()},
        test_origin="the official test set of the release, untouched"
        if official
        else "a patient-grouped fold of the images, since they came without a test set",
    )


def _counts(images: pd.DataFrame) -> dict[str, dict[str, int]]:
    return {
        str(label): {str(cause): int(size) for cause, size in rows["cause"].value_counts().sort_index().items()}
        for label, rows in images.groupby("label")
    }


def _groups(images: pd.DataFrame) -> np.ndarray:
    """Number the connected components of the graph that links each patient with the contents of its files."""
    patients, _ = pd.factorize(images["patient"])
    contents, _ = pd.factorize(images["sha256"])
    nodes = len(images)  # there are at most as many patients as images: numbers of contents start here
    edges = coo_array((np.ones(nodes), (patients, contents + nodes)), shape=(2 * nodes, 2 * nodes))
    _, component = connected_components(edges, directed=False)
    groups: np.ndarray = pd.factorize(component[patients])[0]
    return groups


def _folds(development: pd.DataFrame, params: SplitParams) -> np.ndarray:
    # A cause with fewer groups than folds cannot be stratified; the classes always can.
    rarest = development.groupby("cause")["group"].nunique().min()
    strata = development["cause" if rarest >= params.folds else "label"]
    splitter = StratifiedGroupKFold(params.folds, shuffle=True, random_state=params.seed)
    folds = np.empty(len(development), dtype="int64")
    for fold, (_, rows) in enumerate(splitter.split(development, strata, development["group"])):
        folds[rows] = fold
    return folds


def _refuse_leaks(images: pd.DataFrame, official_test: pd.Series) -> None:
    sides = official_test.groupby(images["group"]).transform("nunique")
    leaks = images[sides > 1]
    if leaks.empty:
        return
    named = [
        f"  {', '.join(sorted(rows['patient'].unique()))}: {', '.join(rows['path'].head(NAMES_SHOWN))}"
        for _, rows in list(leaks.groupby("group"))[:NAMES_SHOWN]
    ]
    count = leaks["group"].nunique()
    raise SplitError(
        f"Expected every patient either in test or outside of it, but {count} group(s) of patients "
        "(or of patients with identical files) are on both sides. Move all their images to one side, or remove them "
        "from one; if they are different patients, give them names that tell them apart, or a patients.csv.\n"
        + "\n".join(named)
    )


def _refuse_too_few_folds(params: SplitParams) -> None:
    last = params.folds - 1
    if params.folds < 3 or params.validation_fold == last:
        raise SplitError(
            f"The images have no test set, so the last fold ({last}) becomes it. Expected split.folds of 3 or more "
            f"and a split.validation_fold other than {last} in params.yaml, got folds {params.folds} and "
            f"validation_fold {params.validation_fold}."
        )


def _refuse_too_few_groups(development: pd.DataFrame, folds: int) -> None:
    groups = development.groupby("label")["group"].nunique().reindex(list(CLASS_NAMES), fill_value=0)
    if groups.min() < folds:
        raise SplitError(
            f"Expected at least {folds} patients of each class outside of the test set, one for each of split.folds; "
            f"found {', '.join(f'{count} of {label}' for label, count in groups.items())}. "
            "Add images of more patients, or lower split.folds in params.yaml."
        )


def _refuse_missing_classes(images: pd.DataFrame) -> None:
    for (subset, fold), rows in images.groupby(["subset", "fold"]):
        missing = set(CLASS_NAMES) - set(rows["label"])
        if missing:
            part = "the test set" if fold == TEST_FOLD else f"fold {fold} ({subset})"
            raise SplitError(
                f"Expected both classes in every fold and in the test set, but {part} has no {missing.pop()}. "
                "Add images of more patients, lower split.folds or try another split.seed in params.yaml."
            )
