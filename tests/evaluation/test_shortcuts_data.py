from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pneumonia.config import AuditParams, BootstrapParams, PhantomParams, SplitParams
from pneumonia.data import facts, manifest, phantom, split
from pneumonia.evaluation import shortcuts_data
from pneumonia.images import store
from tests.evaluation.audit_params import AUDIT

BOOTSTRAP = BootstrapParams(resamples=1000, seed=1)
SHORTCUTS = ("jpeg", "size", "marker", "border")


def phantom_params(seed: int, shortcut: str) -> PhantomParams:
    """Small sets that differ in size, shares, faults and difficulty, whatever is planted in them."""
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


def verdict(folder: Path, params: PhantomParams, audit: AuditParams = AUDIT) -> dict[str, Any]:
    """Take a phantom set the way of the pipeline: files, manifest, split, decoded images, audit."""
    phantom.write(params, folder / "raw")
    files = manifest.build(folder / "raw", workers=1)
    splits = split.split(files, SplitParams(seed=1, folds=4, validation_fold=0))
    store.write(splits, folder / "raw", folder / "images", size=64, source="phantom", release="", workers=1)
    images = store.read(folder / "images")
    readable = files[files["problem"] == ""]
    return shortcuts_data.audit(images.images, images.index, facts.header_facts(readable, None), audit, BOOTSTRAP)


WITNESSES = {"jpeg": "jpeg_quality", "size": "aspect", "marker": "border", "border": "border"}
"""Who must have seen what was planted."""


@pytest.mark.parametrize("seed", range(100, 120))
def test_sound_sets_raise_no_alarm(seed: int, tmp_path: Path) -> None:
    found = verdict(tmp_path, phantom_params(seed, "none"))
    assert not found["alarm"], found["witnesses"]


@pytest.mark.parametrize(("seed", "shortcut"), [(200 + i, SHORTCUTS[i % 4]) for i in range(20)])
def test_planted_shortcuts_raise_the_alarm(seed: int, shortcut: str, tmp_path: Path) -> None:
    found = verdict(tmp_path, phantom_params(seed, shortcut))
    assert found["alarm"], found["witnesses"]
    witness = found["witnesses"][WITNESSES[shortcut]]
    assert witness["development"]["alarm"]
    assert witness["test"]["auc"] == pytest.approx(0.5) if shortcut == "jpeg" else witness["test"]["alarm"]


def test_facts_that_follow_the_content_raise_no_alarm() -> None:
    """Two classes that differ in bytes alone."""
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
        bytes_per_megapixel=lambda facts: facts["bytes"] / facts["megapixels"],
    )

    found = shortcuts_data.audit(rng.integers(0, 256, (400, 32, 32), np.uint8), index, table, AUDIT, BOOTSTRAP)

    assert not found["alarm"]
    assert found["witnesses"]["bytes"]["development"]["auc"] == 1
    assert found["witnesses"]["bytes"]["higher_in"] == "NORMAL"


def test_the_frame_is_all_that_the_border_witness_sees() -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, 100, 100), np.uint8)
    before = shortcuts_data.frame_features(images, 0.05)
    images[:, 5:-5, 5:-5] = 0
    np.testing.assert_array_equal(shortcuts_data.frame_features(images, 0.05), before)
    for spot in ((4, 50), (95, 50), (50, 4), (50, 95)):
        changed = images.copy()
        changed[(slice(None), *spot)] ^= 0x80
        assert (shortcuts_data.frame_features(changed, 0.05) != before).any(axis=1).all()
