"""The data card's figures are those of data/kermany-files.csv."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

ROOT = Path(__file__).parent.parent
AUDIT = ROOT / "reports/shortcuts.json"


@pytest.fixture(scope="module")
def facts() -> pd.DataFrame:
    facts = pd.read_csv(ROOT / "data/kermany-files.csv")
    megapixels = facts["width"] * facts["height"] / 1e6
    # Each fact is turned so that a higher value speaks for pneumonia in train.
    return facts.assign(
        **{
            "bytes per megapixel (fewer: pneumonia)": -facts["bytes"] / megapixels,
            "JPEG quality (lower: pneumonia)": -facts["jpeg_quality"],
            "image width (narrower: pneumonia)": -facts["width"],
            "megapixels (fewer: pneumonia)": -megapixels,
            "aspect ratio (wider: pneumonia)": facts["width"] / facts["height"],
        }
    )


def test_header_facts_separate_the_classes_as_the_card_says(facts: pd.DataFrame) -> None:
    card = (ROOT / "DATA_CARD.md").read_text()
    rows = re.findall(r"^\| (.+: pneumonia\)) \| ([\d.]+) \| ([\d.]+) \|$", card, re.MULTILINE)
    assert len(rows) == 5
    for fact, *told in rows:
        for split, figure in zip(("train", "test"), told, strict=True):
            part = facts[facts["split"] == split]
            assert f"{roc_auc_score(part['class'] == 'PNEUMONIA', part[fact]):.3f}" == figure, f"{fact}, {split}"


def test_counts_are_as_the_card_says(facts: pd.DataFrame) -> None:
    card = (ROOT / "DATA_CARD.md").read_text()
    labels = facts["class"].value_counts()
    assert f"{len(facts):,} chest radiographs" in card
    assert f"NORMAL {labels['NORMAL']:,}, PNEUMONIA {labels['PNEUMONIA']:,}" in card
    rgb = facts[facts["mode"] == "RGB"]
    assert f"All {len(rgb)} RGB files are PNEUMONIA images of train" in card
    assert set(zip(rgb["split"], rgb["class"], strict=True)) == {("train", "PNEUMONIA")}


def test_audit_says_what_the_card_quotes_of_it() -> None:
    card = (ROOT / "DATA_CARD.md").read_text()
    audit = json.loads(AUDIT.read_text())["data"]
    told = re.search(r"AUC of ([\d.]+) on development \(out of fold\) and ([\d.]+) on test", card)
    assert told
    border = audit["witnesses"]["border"]
    assert told.groups() == tuple(f"{border[part]['auc']:.3f}" for part in ("development", "test"))
    for part in ("development", "test"):
        assert any(witness[part]["alarm"] for witness in audit["witnesses"].values())
