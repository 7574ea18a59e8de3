from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumonia.arrays import store
from pneumonia.audit import data_shortcuts
from pneumonia.audit.audit_report import DataAudit
from pneumonia.data import manifest, phantom, split
from pneumonia.data.header_metadata import header_metadata
from pneumonia.data.settings import PhantomParams, SplitParams
from pneumonia.evaluation.settings import BootstrapParams
from pneumonia.images.decode import decode
from tests.support.audit_params import AUDIT

BOOTSTRAP = BootstrapParams(resamples=1000, seed=1)
SHORTCUTS = ("jpeg", "size", "marker", "border")


def phantom_params(seed: int, shortcut: str) -> PhantomParams:
    """Small sets that differ in size, shares, faults and difficulty."""
    rng = np.random.default_rng([seed, 20])
    return PhantomParams.model_validate(
        {
            "seed": seed,
            "patients": int(rng.integers(80, 121)),
            "images_per_patient": int(rng.integers(1, 4)),
            "size": 64,
            "test_fraction": float(rng.uniform(0.2, 0.35)),
            "pneumonia_fraction": float(rng.uniform(0.45, 0.7)),
            "difficulty": float(rng.uniform(0, 1)),
            "duplicates": int(rng.integers(0, 4)),
            "leaked_patients": 0,
            "corrupt_files": int(rng.integers(0, 4)),
            "shortcut": shortcut,
            "drift": float(rng.choice([0.0, 0.5])),
        }
    )


def audit_phantoms(folder: Path, params: PhantomParams) -> DataAudit:
    """Run a phantom set through the pipeline: files, manifest, split, decoded images, audit."""
    phantom.write(params, folder / "raw")
    files = manifest.build(folder / "raw", workers=1)
    splits = split.split(files, SplitParams(seed=1, folds=4, validation_fold=0))
    store.write(
        splits, folder / "raw", folder / "images", decode=decode, size=64, source="phantom", release="", workers=1
    )
    images = store.read(folder / "images")
    readable = files[files["problem"] == ""]
    header = header_metadata(readable, None)
    return data_shortcuts.audit(images.images, images.index, header, AUDIT, BOOTSTRAP)


PREDICTORS = {"jpeg": "jpeg_quality", "size": "aspect", "marker": "border", "border": "border"}
"""The predictor that must detect each planted shortcut."""


@pytest.mark.parametrize("seed", range(100, 120))
def test_sets_without_a_shortcut_raise_no_alarm(seed: int, tmp_path: Path) -> None:
    result = audit_phantoms(tmp_path, phantom_params(seed, "none"))
    assert not result.alarm, result.predictors


@pytest.mark.parametrize(("seed", "shortcut"), [(200 + i, SHORTCUTS[i % 4]) for i in range(20)])
def test_planted_shortcuts_raise_the_alarm(seed: int, shortcut: str, tmp_path: Path) -> None:
    result = audit_phantoms(tmp_path, phantom_params(seed, shortcut))
    assert result.alarm, result.predictors
    predictor = result.predictors[PREDICTORS[shortcut]]
    assert predictor.development.alarm
    assert predictor.test.auc.value == pytest.approx(0.5) if shortcut == "jpeg" else predictor.test.alarm


def test_content_dependent_properties_raise_no_alarm() -> None:
    """Two classes that differ only in bytes."""
    rng = np.random.default_rng(0)
    index = pd.DataFrame({"path": [f"{i}" for i in range(400)], "group": range(400)}).assign(
        label=np.where(np.arange(400) % 2, "PNEUMONIA", "NORMAL"),
        fold=np.where(np.arange(400) < 300, np.arange(400) // 2 % 3, -1),
        subset=np.where(np.arange(400) < 300, "train", "test"),
    )
    size = rng.integers(900, 1100, (400, 2))
    sizes = pd.DataFrame(size, columns=["width", "height"], index=index["path"])
    table = sizes.assign(
        megapixels=size.prod(axis=1) / 1e6,
        aspect=size[:, 0] / size[:, 1],
        mode="L",
        jpeg_quality=75.0,
        bytes=np.where(np.arange(400) % 2, 1000, 2000),
        bytes_per_megapixel=lambda metadata: metadata["bytes"] / metadata["megapixels"],
    )

    result = data_shortcuts.audit(rng.integers(0, 256, (400, 32, 32), np.uint8), index, table, AUDIT, BOOTSTRAP)

    assert not result.alarm
    assert result.predictors["bytes"].development.auc.value == 1
    assert result.predictors["bytes"].higher_in == "NORMAL"


def test_the_border_predictor_uses_only_the_frame() -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, 100, 100), np.uint8)
    before = data_shortcuts.frame_features(images, 0.05)
    images[:, 5:-5, 5:-5] = 0
    np.testing.assert_array_equal(data_shortcuts.frame_features(images, 0.05), before)
    for spot in ((4, 50), (95, 50), (50, 4), (50, 95)):
        changed = images.copy()
        changed[(slice(None), *spot)] ^= 0x80
        assert (data_shortcuts.frame_features(changed, 0.05) != before).any(axis=1).all()
