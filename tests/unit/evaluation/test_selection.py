import pytest

from pneumonia.core.errors import EvidenceError
from pneumonia.evaluation import selection


def test_selects_the_highest_value() -> None:
    validation = {"cnn": {"f1": 0.9, "roc_auc": 0.8}, "probe": {"f1": 0.7, "roc_auc": 0.85}}
    assert selection.select_best(validation, "roc_auc") == "probe"
    assert selection.select_best(validation, "f1") == "cnn"


def test_selects_the_first_name_of_equals() -> None:
    assert selection.select_best({"b": {"f1": 0.5}, "a": {"f1": 0.5}, "c": {"f1": 0.5}}, "f1") == "a"


@pytest.mark.parametrize("validation", [{}, {"cnn": {"f1": 0.5}}, {"cnn": {"roc_auc": float("nan")}}])
def test_without_a_finite_value_for_every_model_nothing_is_selected(validation: dict[str, dict[str, float]]) -> None:
    with pytest.raises(EvidenceError, match="dvc repro evaluate"):
        selection.select_best(validation, "roc_auc")
