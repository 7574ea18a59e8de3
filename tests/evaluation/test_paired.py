import numpy as np
import pandas as pd
import pytest

from pneumonia.config import BootstrapParams
from pneumonia.evaluation import paired

BOOTSTRAP = BootstrapParams(resamples=500, seed=1)


def answers(probabilities: list[float], labels: str = "NNNNPPPP", subset: str = "test") -> pd.DataFrame:
    """Predictions at a threshold of 0.5; each image is a patient."""
    label = ["NORMAL" if letter == "N" else "PNEUMONIA" for letter in labels]
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(len(labels))],
            "subset": subset,
            "label": label,
            "cause": ["normal" if letter == "N" else "virus" for letter in labels],
            "group": range(len(labels)),
            "probability": probabilities,
            "predicted": ["PNEUMONIA" if p >= 0.5 else "NORMAL" for p in probabilities],
            "indeterminate": [0.4 < p < 0.6 for p in probabilities],
        }
    )


GOOD = answers([0.1, 0.2, 0.1, 0.3, 0.9, 0.8, 0.7, 0.9])
POOR = answers([0.1, 0.6, 0.7, 0.3, 0.9, 0.2, 0.7, 0.9])


def test_aligns_the_images_that_both_have_answered_whatever_their_order() -> None:
    other = POOR.iloc[[7, 3, 1]]
    aligned = paired.align(GOOD, other, "test")
    assert list(aligned["path"]) == ["1.png", "3.png", "7.png"]
    assert list(aligned["probability_first"]) == [0.2, 0.3, 0.9]
    assert list(aligned["probability_second"]) == [0.6, 0.3, 0.9]
    assert paired.covers(aligned, other, "test")
    assert not paired.covers(aligned, GOOD, "test")


def test_leaves_out_images_of_other_subsets_and_with_another_label() -> None:
    relabelled = answers(list(POOR["probability"]), labels="PNNNPPPP")
    assert "0.png" not in set(paired.align(GOOD, relabelled, "test")["path"])
    assert paired.align(GOOD, POOR, "validation").empty


def test_differences_are_those_of_the_figures() -> None:
    found = paired.differences(paired.align(GOOD, POOR, "test"), BOOTSTRAP)
    assert found["specificity"].value == pytest.approx(1 - 0.5)
    assert found["sensitivity"].value == pytest.approx(1 - 0.75)
    assert found["accuracy"].value == pytest.approx(1 - 5 / 8)
    assert found["roc_auc"].value == pytest.approx(1 - 12.5 / 16), (
        "of 16 pairs 3 are in the wrong order and one is a tie"
    )
    turned = paired.differences(paired.align(POOR, GOOD, "test"), BOOTSTRAP)
    for figure, estimate in found.items():
        assert estimate.low is not None
        assert turned[figure].high == pytest.approx(-estimate.low)


def test_models_that_answer_alike_surely_differ_by_nothing() -> None:
    for estimate in paired.differences(paired.align(GOOD, GOOD, "test"), BOOTSTRAP).values():
        assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


def test_figures_that_no_image_speaks_of_surely_differ_by_nothing() -> None:
    """Only NORMAL images are called otherwise, and the order stays: sensitivity and AUC are the same for sure."""
    stricter = GOOD.assign(predicted=["NORMAL", "PNEUMONIA", *GOOD["predicted"][2:]])
    found = paired.differences(paired.align(GOOD, stricter, "test"), BOOTSTRAP)
    for figure in ("sensitivity", "roc_auc"):
        assert (found[figure].value, found[figure].low, found[figure].high) == (0, 0, 0)
    assert found["specificity"].value == pytest.approx(0.25)
    assert found["specificity"].high is not None
    assert found["specificity"].high > 0.25


def test_models_that_separate_the_classes_alike_have_the_same_auc_whatever_their_order_within_them() -> None:
    other = GOOD.assign(probability=[0.3, 0.1, 0.2, 0.1, 0.7, 0.9, 0.9, 0.8])
    found = paired.differences(paired.align(GOOD, other, "test"), BOOTSTRAP)["roc_auc"]
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_equal_aucs_of_other_pairs_are_no_sure_tie() -> None:
    """Each has one pair in the wrong order, but not the same: resamples tell them apart."""
    one = answers([0.1, 0.7, 0.2, 0.3, 0.6, 0.8, 0.9, 0.9])
    other = answers([0.7, 0.1, 0.2, 0.3, 0.9, 0.6, 0.9, 0.9])
    found = paired.differences(paired.align(one, other, "test"), BOOTSTRAP)["roc_auc"]
    assert found.value == pytest.approx(0)
    assert (found.low or 0, found.high or 0) != (0, 0)


def test_recalibrated_probabilities_change_no_figure() -> None:
    recalibrated = GOOD.assign(probability=GOOD["probability"] / 2 + 0.25)
    for estimate in paired.differences(paired.align(recalibrated, GOOD, "test"), BOOTSTRAP).values():
        assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


def test_without_a_class_its_figures_are_left_out() -> None:
    normal = paired.align(GOOD.iloc[:4], POOR.iloc[:4], "test")
    assert set(paired.differences(normal, BOOTSTRAP)) == {"accuracy", "specificity"}
    assert paired.differences(normal.iloc[:0], BOOTSTRAP) == {}


def test_images_of_one_patient_count_together() -> None:
    """Ten pictures of each of eight patients say no more than one of each."""
    rng = np.random.default_rng(0)
    probabilities = rng.random(40)
    single = answers(list(probabilities), "NP" * 20), answers(list(rng.random(40)), "NP" * 20)
    many = [
        pd.concat([one.assign(path=[f"{copy}-{path}" for path in one["path"]]) for copy in range(10)])
        for one in single
    ]
    one, ten = (
        paired.differences(paired.align(first, second, "test"), BOOTSTRAP)["roc_auc"]
        for first, second in (single, many)
    )
    assert (one.value, one.low, one.high) == pytest.approx((ten.value, ten.low, ten.high))
