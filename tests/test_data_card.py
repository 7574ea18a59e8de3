"""The numbers in DATA_CARD.md are those of data/kermany-files.csv and of the shortcut audit."""

import re
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pneumonia.audit.audit_report import PARTS, DataAudit
from pneumonia.core import paths
from pneumonia.core.files import read_json

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    published = pd.read_csv(ROOT / "data/kermany-files.csv")
    megapixels = published["width"] * published["height"] / 1e6
    # The sign of each property is chosen so that pneumonia has the higher values in train.
    return published.assign(
        **{
            "bytes per megapixel (fewer: pneumonia)": -published["bytes"] / megapixels,
            "JPEG quality (lower: pneumonia)": -published["jpeg_quality"],
            "image width (narrower: pneumonia)": -published["width"],
            "megapixels (fewer: pneumonia)": -megapixels,
            "aspect ratio (wider: pneumonia)": published["width"] / published["height"],
        }
    )


def test_auc_of_file_properties_is_that_in_the_card(published: pd.DataFrame) -> None:
    card = (ROOT / "DATA_CARD.md").read_text()
    rows = re.findall(r"^\| (.+: pneumonia\)) \| ([\d.]+) \| ([\d.]+) \|$", card, re.MULTILINE)
    assert len(rows) == 5
    for name, *values in rows:
        for split, value in zip(("train", "test"), values, strict=True):
            part = published[published["split"] == split]
            assert f"{roc_auc_score(part['class'] == 'PNEUMONIA', part[name]):.3f}" == value, f"{name}, {split}"


def test_counts_are_those_in_the_card(published: pd.DataFrame) -> None:
    card = (ROOT / "DATA_CARD.md").read_text()
    labels = published["class"].value_counts()
    assert f"{len(published):,} chest radiographs" in card
    assert f"NORMAL {labels['NORMAL']:,}, PNEUMONIA {labels['PNEUMONIA']:,}" in card
    rgb = published[published["mode"] == "RGB"]
    assert f"All {len(rgb)} RGB files are PNEUMONIA images of train" in card
    assert set(zip(rgb["split"], rgb["class"], strict=True)) == {("train", "PNEUMONIA")}


def test_auc_of_the_border_is_that_in_the_card() -> None:
    card = (ROOT / "DATA_CARD.md").read_text()
    audit = read_json(ROOT / paths.DATA_AUDIT, DataAudit)
    quoted = re.search(r"AUC of ([\d.]+) on development \(out of fold\) and ([\d.]+) on test", card)
    assert quoted
    assert quoted.groups() == tuple(f"{audit.predictors['border'].on(part).auc.value:.3f}" for part in PARTS)
    for part in PARTS:
        assert any(predictor.on(part).alarm for predictor in audit.predictors.values())
