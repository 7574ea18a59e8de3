"""The network that comes with the project: whole, small, and with the figures of exactly these weights."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumonia.images.decode import decode
from pneumonia.inference.predictor import Predictor
from pneumonia.labels import CLASS_NAMES
from pneumonia.models import bundle as bundles
from tests import readme

RELEASE = readme.ROOT / "release"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def predictions() -> pd.DataFrame:
    return pd.read_csv(RELEASE / "reports/predictions.csv")


def test_the_bundle_is_whole_and_small() -> None:
    bundle = bundles.read(RELEASE)

    assert (
        sum(
            (RELEASE / name).stat().st_size for name in (bundles.MODEL_FILE, bundles.REFERENCE_FILE, bundles.CARD_FILE)
        )
        <= 5 * MEGABYTE
    )
    assert bundle.card.data.source == "kermany"
    assert bundle.card.git_commit


def test_the_figures_follow_from_the_predictions(predictions: pd.DataFrame) -> None:
    judged = json.loads((RELEASE / "reports/judgement.json").read_text())
    threshold = bundles.read(RELEASE).card.threshold
    for subset, rows in predictions.groupby("subset"):
        called = np.where(rows["probability"] >= threshold, CLASS_NAMES[1], CLASS_NAMES[0])
        figures = judged["subsets"][subset]["figures"]
        assert figures["accuracy"]["value"] == pytest.approx((called == rows["label"]).mean(), abs=1e-6)
        ill = rows["label"] == CLASS_NAMES[1]
        assert figures["sensitivity"]["value"] == pytest.approx((called == rows["label"])[ill].mean(), abs=1e-6)


@pytest.mark.real
def test_the_weights_give_the_predictions(mirror: Path, predictions: pd.DataFrame) -> None:
    predictor = Predictor.load(RELEASE)
    expected = predictions[predictions["subset"] == "test"].iloc[::5]
    with zipfile.ZipFile(mirror / "kermany-224.zip") as archive:
        content = [archive.read(f"chest_xray/{path}") for path in expected["path"]]
    pixels = np.stack([decode(image, predictor.bundle.card.image_size) for image in content])

    np.testing.assert_allclose(predictor.probabilities(pixels), expected["probability"], atol=1e-4)
