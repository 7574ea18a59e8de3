"""The released network: complete, small, and with metrics of exactly these weights."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumonia.bundle import bundle as bundles
from pneumonia.core.files import read_json
from pneumonia.core.labels import CLASS_NAMES
from pneumonia.evaluation.evaluation_report import EvaluationReport
from pneumonia.images.decode import decode
from pneumonia.inference.runtime import Runtime
from pneumonia.registry import resolve
from tests.support import readme

RELEASE = readme.ROOT / "release"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def predictions() -> pd.DataFrame:
    return pd.read_csv(RELEASE / "reports/predictions.csv")


def test_bundle_is_complete_and_small() -> None:
    bundle = bundles.read(RELEASE)

    files = [bundle.model_file, bundle.graph_file, bundle.reference_file, RELEASE / bundles.CARD_FILE]
    assert sum(file.stat().st_size for file in files) <= 15 * MEGABYTE
    assert bundle.card.data.source == "kermany"
    provenance = json.loads((RELEASE / "provenance.json").read_text())
    assert re.fullmatch(r"[0-9a-f]{40}", provenance["git_commit"])


def test_metrics_follow_from_the_predictions(predictions: pd.DataFrame) -> None:
    report = read_json(RELEASE / resolve.RELEASE_EVALUATION, EvaluationReport)
    threshold = bundles.read(RELEASE).card.threshold
    for subset, rows in predictions.groupby("subset"):
        called = np.where(rows["probability"] >= threshold, CLASS_NAMES[1], CLASS_NAMES[0])
        figures = report.subsets[str(subset)].figures
        assert figures["accuracy"].value == pytest.approx((called == rows["label"]).mean(), abs=1e-6)
        ill = rows["label"] == CLASS_NAMES[1]
        assert figures["sensitivity"].value == pytest.approx((called == rows["label"])[ill].mean(), abs=1e-6)


@pytest.mark.real
def test_weights_give_the_predictions(mirror: Path, predictions: pd.DataFrame) -> None:
    runtime = Runtime.load(RELEASE)
    expected = predictions[predictions["subset"] == "test"].iloc[::5]
    with zipfile.ZipFile(mirror / "kermany-224.zip") as archive:
        content = [archive.read(f"chest_xray/{path}") for path in expected["path"]]
    pixels = np.stack([decode(image, runtime.bundle.card.image_size) for image in content])

    np.testing.assert_allclose(runtime.probabilities(pixels), expected["probability"], atol=1e-4)
