from pathlib import Path

import pandas as pd
import pytest
from scipy.special import expit

from pneumonia.core.errors import EvidenceError
from pneumonia.evaluation.evaluation_report import EvaluationReport
from pneumonia.evaluation.prediction_table import COLUMNS, predictions_table, read_predictions
from tests.support.cards import card
from tests.support.reports import Reports
from tests.unit.evaluation.test_evaluate import scored


def test_a_row_per_subset_and_image() -> None:
    images = scored(1)

    table = predictions_table(card(), {"validation": images, "test": images})

    assert tuple(table.columns) == COLUMNS
    assert list(table["subset"]) == ["validation"] * 240 + ["test"] * 240
    test = table[table["subset"] == "test"]
    probabilities = expit(images.logits / 2 + 0.5)
    assert list(test["path"]) == list(images.metadata.index)
    assert list(test["label"] == "PNEUMONIA") == list(images.targets == 1)
    assert list(test["probability"]) == list(probabilities.round(6))
    assert list(test["predicted"] == "PNEUMONIA") == list(probabilities >= 0.6)
    assert list(test["indeterminate"]) == list((probabilities >= 0.4) & (probabilities < 0.7))


def test_a_written_table_is_read_again(tmp_path: Path) -> None:
    Reports(images=40).write(tmp_path)

    table = read_predictions(tmp_path / "reports/predictions/cnn.csv")

    assert tuple(table.columns) == COLUMNS
    assert table["indeterminate"].dtype == bool


def test_a_missing_file_and_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"none\.csv is missing"):
        read_predictions(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(EvidenceError, match=r"empty\.csv cannot be read"):
        read_predictions(tmp_path / "empty.csv")
    pd.DataFrame({"path": [], "logit": []}).to_csv(tmp_path / "few.csv")
    with pytest.raises(EvidenceError, match="lacks the columns subset, label, cause, group, probability, predicted"):
        read_predictions(tmp_path / "few.csv")


def test_a_report_of_another_layout_is_refused_with_its_name(tmp_path: Path) -> None:
    from pneumonia.core import files

    (tmp_path / "old.json").write_text('{"model": "cnn", "figures": {}}')
    with pytest.raises(EvidenceError, match=r"old\.json is not a EvaluationReport"):
        files.read_json(tmp_path / "old.json", EvaluationReport)
