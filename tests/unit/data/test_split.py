import io

import pandas as pd
import pytest

from pneumonia.core.errors import SplitError
from pneumonia.data import split_figures
from pneumonia.data.settings import SplitParams
from pneumonia.data.split import split, summary

PARAMS = SplitParams(seed=42, folds=4, validation_fold=1)


def manifest(train: int = 60, test: int = 20, images_per_patient: int = 3) -> pd.DataFrame:
    """Patients in turn normal, bacterial and viral, each with some images; ``val`` takes the first two of train."""
    causes = ["normal", "bacteria", "virus"]
    rows = []
    for number in range(train + test):
        cause = causes[number % 3]
        label = "NORMAL" if cause == "normal" else "PNEUMONIA"
        release = "test" if number >= train else "val" if number < 2 else "train"
        rows += [
            {
                "path": f"{release}/{label}/{cause}{number:03}-{image}.jpeg",
                "sha256": f"{number}-{image}",
                "release_split": release,
                "label": label,
                "cause": cause,
                "patient": f"{cause}-{number}",
                "problem": "",
            }
            for image in range(1 + number % images_per_patient)
        ]
    return pd.DataFrame(rows)


def test_the_official_test_set_is_untouched() -> None:
    images = manifest()

    splits = split(images, PARAMS)

    official = images.loc[images["release_split"] == "test", "path"]
    assert sorted(splits.loc[splits["subset"] == "test", "path"]) == sorted(official)
    assert set(splits.loc[splits["subset"] == "test", "fold"]) == {-1}


def test_every_other_image_is_in_one_fold_and_one_fold_is_validation() -> None:
    images = manifest()

    splits = split(images, PARAMS)

    development = splits[splits["subset"] != "test"]
    assert sorted(splits["path"]) == sorted(images["path"])
    assert set(development["fold"]) == {0, 1, 2, 3}
    assert (development["subset"].eq("validation") == development["fold"].eq(1)).all()


def test_no_patient_is_in_two_folds() -> None:
    splits = split(manifest(), PARAMS)

    assert splits.groupby("patient")["fold"].nunique().max() == 1
    assert splits.groupby("patient")["group"].nunique().max() == 1


def test_folds_have_the_same_share_of_each_cause() -> None:
    splits = split(manifest(train=240), PARAMS)

    development = splits[splits["fold"] >= 0]
    shares = pd.crosstab(development["fold"], development["cause"], normalize="index")
    assert (shares.max() - shares.min()).max() < 0.05


def test_identical_files_merge_the_groups_of_their_patients() -> None:
    images = manifest()
    first = images.groupby("patient")["path"].first()
    a, b, c = first["normal-12"], first["bacteria-13"], first["virus-17"]
    images.loc[images["path"].isin([a, b]), "sha256"] = "one"
    images.loc[images["path"] == c, "sha256"] = "two"
    images.loc[(images["patient"] == "bacteria-13") & (images["path"] != b), "sha256"] = "two"

    splits = split(images, PARAMS).set_index("path")

    assert splits.loc[a, "group"] == splits.loc[b, "group"] == splits.loc[c, "group"]
    assert splits.loc[a, "fold"] == splits.loc[b, "fold"] == splits.loc[c, "fold"]
    assert splits["group"].nunique() == images["patient"].nunique() - 2


def test_the_order_of_the_rows_changes_nothing() -> None:
    images = manifest()

    shuffled = split(images.sample(frac=1, random_state=3), PARAMS)

    pd.testing.assert_frame_equal(shuffled, split(images, PARAMS))


def test_another_seed_gives_another_split() -> None:
    other = PARAMS.model_copy(update={"seed": 43})

    assert not split(manifest(), PARAMS).equals(split(manifest(), other))


def test_quarantined_images_are_left_out() -> None:
    images = manifest()
    images.loc[5, "problem"] = "empty file"

    assert images["path"][5] not in set(split(images, PARAMS)["path"])


def test_a_rare_cause_is_accepted() -> None:
    images = manifest()
    images.loc[images["patient"] == "virus-5", "cause"] = "unknown"

    assert "unknown" in set(split(images, PARAMS)["cause"])


def test_a_patient_in_test_and_train_is_rejected_by_name() -> None:
    images = manifest()
    images.loc[images["patient"] == "normal-75", "patient"] = "normal-12"

    with pytest.raises(SplitError, match=r"1 group\(s\).*\n  normal-12: test/NORMAL/normal075"):
        split(images, PARAMS)


def test_identical_files_in_test_and_val_are_rejected() -> None:
    images = manifest()
    images.loc[images["patient"].isin(["normal-0", "normal-75"]), "sha256"] = "duplicate"

    with pytest.raises(SplitError, match="normal-0, normal-75"):
        split(images, PARAMS)


@pytest.mark.parametrize(("train", "found"), [(9, "3 of NORMAL, 6 of PNEUMONIA"), (0, "0 of NORMAL, 0 of PNEUMONIA")])
def test_too_few_patients_are_rejected(train: int, found: str) -> None:
    with pytest.raises(SplitError, match=f"at least 4 patients of each class.*found {found}"):
        split(manifest(train=train), PARAMS)


def test_a_test_set_of_one_class_is_rejected() -> None:
    images = manifest()

    with pytest.raises(SplitError, match="the test set has no NORMAL"):
        split(images[(images["release_split"] != "test") | (images["label"] != "NORMAL")], PARAMS)


def test_without_a_test_set_the_last_fold_becomes_it() -> None:
    splits = split(manifest(test=0), PARAMS)

    assert set(splits.loc[splits["subset"] != "test", "fold"]) == {0, 1, 2}
    assert splits["subset"].eq("test").mean() == pytest.approx(1 / 4, abs=0.05)
    assert splits.groupby("patient")["subset"].nunique().max() == 1
    assert "without a test set" in summary(splits).test_origin


@pytest.mark.parametrize(("folds", "validation_fold"), [(4, 3), (2, 0)])
def test_without_a_test_set_validation_and_test_need_their_own_folds(folds: int, validation_fold: int) -> None:
    params = SplitParams(seed=42, folds=folds, validation_fold=validation_fold)

    with pytest.raises(SplitError, match="no test set"):
        split(manifest(test=0), params)


def test_the_counts_of_the_report_add_up() -> None:
    images = manifest()
    splits = split(images, PARAMS)

    counted = summary(splits)

    totals = {
        subset: sum(sum(causes.values()) for causes in labels.values()) for subset, labels in counted.images.items()
    }
    assert sum(totals.values()) == len(images)
    assert sum(counted.folds.values()) == totals["train"] + totals["validation"]
    assert counted.folds["1"] == totals["validation"]
    assert sum(counted.groups.values()) == images["patient"].nunique()
    assert counted.test_origin.startswith("the official test set")


def test_the_figure_shows_every_count() -> None:
    splits = split(manifest(), PARAMS)
    (axes,) = split_figures.class_distribution(splits).axes

    bacterial = splits[(splits["subset"] == "train") & (splits["cause"] == "bacteria")]
    assert str(len(bacterial)) in {text.get_text() for text in axes.texts}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "normal",
        "pneumonia, bacterial",
        "pneumonia, viral",
    ]


@pytest.mark.parametrize("draw", [split_figures.class_distribution, split_figures.split_ratio])
def test_the_same_split_gives_the_same_figure(draw) -> None:
    splits = split(manifest(), PARAMS)
    first, second = io.BytesIO(), io.BytesIO()

    draw(splits).savefig(first, metadata={"Software": None})
    draw(splits).savefig(second, metadata={"Software": None})

    assert first.getvalue() == second.getvalue()
