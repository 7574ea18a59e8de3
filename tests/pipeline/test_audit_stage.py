import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from pipeline import audit
from pneumonia import config
from pneumonia.data import manifest, phantom, split
from pneumonia.images import store

PARAMS = config.load(Path(__file__).parents[2] / "params.yaml")


class Stub:
    """A predictor that goes by the brightness of the lower half."""

    bundle = SimpleNamespace(card=SimpleNamespace(threshold=0.5, calibration=SimpleNamespace(probabilities=expit)))

    def logits(self, pixels: np.ndarray, batch_size: int) -> np.ndarray:
        answered: np.ndarray = (pixels[:, pixels.shape[1] // 2 :].mean(axis=(1, 2)) - 110) / 10
        return answered


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A phantom set with black margins for PNEUMONIA, as the prepare stage leaves it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(audit.Predictor, "load", lambda folder: Stub())
    planted: dict[str, Any] = {"patients": 90, "size": 64, "shortcut": "border"}
    phantom.write(PARAMS.data.phantom.model_copy(update=planted), tmp_path / "raw")
    files = manifest.build(tmp_path / "raw", workers=1)
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "reports").mkdir()
    files.to_parquet("artifacts/manifest.parquet")
    splits = split.split(files, PARAMS.split)
    store.write(splits, tmp_path / "raw", audit.IMAGES, size=64, source="phantom", release="", workers=1)
    return tmp_path


def test_the_stage_writes_both_verdicts_for_machines_and_for_readers(workspace: Path) -> None:
    audit.main(PARAMS)

    report = json.loads((workspace / "reports/shortcuts.json").read_text())
    page = (workspace / "reports/shortcuts.md").read_text()
    assert report["data"]["alarm"]
    assert report["data"]["witnesses"]["border"]["test"]["alarm"]
    assert "data: ALARM" in page
    assert set(report["models"]) == set(PARAMS.train.models)
    for name, model in report["models"].items():
        assert f"### {name}: {model['verdict']}" in page
        assert set(model) >= {"auc", "matched", "follows", "perturbations", "verdict"}
    assert report["limits"] == PARAMS.audit.model_dump()
    assert "nan" not in page
    for picture in ("data", "models", "perturbations"):
        assert f"(figures/shortcuts_{picture}.png)" in page
        assert (workspace / f"reports/figures/shortcuts_{picture}.png").read_bytes().startswith(b"\x89PNG")


def test_another_run_writes_the_same_bytes(workspace: Path) -> None:
    def written() -> dict[str, bytes]:
        audit.main(PARAMS)
        return {path.name: path.read_bytes() for path in (workspace / "reports").rglob("shortcuts*")}

    assert written() == written()
