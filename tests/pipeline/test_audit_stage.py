import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from pipeline.params import load
from pipeline.stages import audit, audit_data
from pneumonia.arrays import store
from pneumonia.audit import shortcuts_page
from pneumonia.audit.audit_report import DataAudit, ModelAudit
from pneumonia.core import files, paths
from pneumonia.data import header_metadata, manifest, phantom, split
from pneumonia.images.decode import decode
from tests.support import readme

PARAMS = load(readme.ROOT / "params.yaml")


class Stub:
    """A runtime whose logit is the brightness of the lower half."""

    bundle = SimpleNamespace(card=SimpleNamespace(threshold=0.5, calibration=SimpleNamespace(probabilities=expit)))

    def logits(self, pixels: np.ndarray, batch_size: int) -> np.ndarray:
        logits: np.ndarray = (pixels[:, pixels.shape[1] // 2 :].mean(axis=(1, 2)) - 110) / 10
        return logits


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom set with black margins for PNEUMONIA, as the prepare stage leaves it."""
    folder = tmp_path_factory.mktemp("prepared")
    planted: dict[str, Any] = {"patients": 90, "size": 64, "shortcut": "border"}
    raw = folder / paths.RAW
    phantom.write(PARAMS.data.phantom.model_copy(update=planted), raw)
    listed = manifest.build(raw, workers=1)
    splits = split.split(listed, PARAMS.split)
    store.write(splits, raw, folder / paths.IMAGES, decode=decode, size=64, source="phantom", release="", workers=1)
    header_metadata.write(folder / paths.HEADER_METADATA, splits, listed, None)
    return folder


@pytest.fixture
def workspace(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(prepared, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr(audit.Runtime, "load", lambda folder: Stub())
    return tmp_path / "project"


def test_the_stages_write_both_audits_from_which_the_page_follows(workspace: Path) -> None:
    audit_data.main(PARAMS)
    audit.main(PARAMS, "cnn")

    data = files.read_json(paths.DATA_AUDIT, DataAudit)
    model = files.read_json(paths.MODEL_AUDITS / "cnn.json", ModelAudit)
    page = shortcuts_page.markdown(data, {"cnn": model})
    assert data.alarm
    assert data.predictors["border"].test.alarm
    assert model.limits.minimum_matched_auc == PARAMS.audit.minimum_matched_auc
    assert "ALARM" in page
    assert f"### cnn: {model.verdict}" in page
    assert "nan" not in page


def test_another_run_writes_the_same_bytes(workspace: Path) -> None:
    def written() -> dict[str, bytes]:
        audit_data.main(PARAMS)
        audit.main(PARAMS, "cnn")
        return {str(path): path.read_bytes() for path in (workspace / "reports").rglob("*.json")}

    assert written() == written()


def test_header_metadata_covers_every_image(workspace: Path) -> None:
    metadata = pd.read_parquet(paths.HEADER_METADATA)
    assert list(metadata.index) == list(pd.read_parquet(workspace / paths.IMAGES / "index.parquet")["path"])
