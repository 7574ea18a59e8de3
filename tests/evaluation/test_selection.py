import pytest

from pneumonia.errors import TrackingError
from pneumonia.evaluation import selection


def test_takes_the_highest() -> None:
    validation = {"cnn": {"f1": 0.9, "roc_auc": 0.8}, "probe": {"f1": 0.7, "roc_auc": 0.85}}
    assert selection.select_best(validation, "roc_auc") == "probe"
    assert selection.select_best(validation, "f1") == "cnn"


def test_takes_the_first_name_of_equals() -> None:
    assert selection.select_best({"b": {"f1": 0.5}, "a": {"f1": 0.5}, "c": {"f1": 0.5}}, "f1") == "a"


@pytest.mark.parametrize("validation", [{}, {"cnn": {"f1": 0.5}}, {"cnn": {"roc_auc": float("nan")}}])
def test_refuses_when_it_cannot_tell(validation: dict[str, dict[str, float]]) -> None:
    with pytest.raises(TrackingError, match="dvc repro evaluate"):
        selection.select_best(validation, "roc_auc")
