import numpy as np
import pandas as pd
import pytest

from pneumonia.evaluation import paired
from pneumonia.evaluation.settings import BootstrapParams

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


def test_aligns_the_common_images_in_any_order() -> None:
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
    result = paired.differences(paired.align(GOOD, POOR, "test"), BOOTSTRAP)
    assert result["specificity"].value == pytest.approx(1 - 0.5)
    assert result["sensitivity"].value == pytest.approx(1 - 0.75)
    assert result["accuracy"].value == pytest.approx(1 - 5 / 8)
    assert result["roc_auc"].value == pytest.approx(1 - 12.5 / 16), (
        "of 16 pairs 3 are in the wrong order and one is a tie"
    )
    turned = paired.differences(paired.align(POOR, GOOD, "test"), BOOTSTRAP)
    for figure, estimate in result.items():
        assert estimate.low is not None
        assert turned[figure].high == pytest.approx(-estimate.low)


def test_models_with_equal_predictions_have_zero_differences() -> None:
    for estimate in paired.differences(paired.align(GOOD, GOOD, "test"), BOOTSTRAP).values():
        assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


def test_proportions_with_equal_decisions_have_zero_differences() -> None:
    """Only decisions on NORMAL images differ, with the same ranking: sensitivity and AUC have zero differences."""
    stricter = GOOD.assign(predicted=["NORMAL", "PNEUMONIA", *GOOD["predicted"][2:]])
    result = paired.differences(paired.align(GOOD, stricter, "test"), BOOTSTRAP)
    for figure in ("sensitivity", "roc_auc"):
        assert (result[figure].value, result[figure].low, result[figure].high) == (0, 0, 0)
    assert result["specificity"].value == pytest.approx(0.25)
    assert result["specificity"].high is not None
    assert result["specificity"].high > 0.25


def test_models_that_order_all_pairs_alike_have_a_zero_auc_difference() -> None:
    other = GOOD.assign(probability=[0.3, 0.1, 0.2, 0.1, 0.7, 0.9, 0.9, 0.8])
    result = paired.differences(paired.align(GOOD, other, "test"), BOOTSTRAP)["roc_auc"]
    assert (result.value, result.low, result.high) == (0, 0, 0)


def test_equal_aucs_from_different_pairs_keep_their_interval() -> None:
    """Each model has a different pair in the wrong order, so their AUCs differ on some resamples."""
    one = answers([0.1, 0.7, 0.2, 0.3, 0.6, 0.8, 0.9, 0.9])
    other = answers([0.7, 0.1, 0.2, 0.3, 0.9, 0.6, 0.9, 0.9])
    result = paired.differences(paired.align(one, other, "test"), BOOTSTRAP)["roc_auc"]
    assert result.value == pytest.approx(0)
    assert (result.low or 0, result.high or 0) != (0, 0)


def test_recalibration_changes_no_difference() -> None:
    recalibrated = GOOD.assign(probability=GOOD["probability"] / 2 + 0.25)
    for estimate in paired.differences(paired.align(recalibrated, GOOD, "test"), BOOTSTRAP).values():
        assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


def test_without_a_class_its_figures_are_left_out() -> None:
    normal = paired.align(GOOD.iloc[:4], POOR.iloc[:4], "test")
    assert set(paired.differences(normal, BOOTSTRAP)) == {"accuracy", "specificity"}
    assert paired.differences(normal.iloc[:0], BOOTSTRAP) == {}


def test_images_of_one_patient_are_resampled_together() -> None:
    """Ten images of each of eight patients give the same interval as one image of each."""
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
