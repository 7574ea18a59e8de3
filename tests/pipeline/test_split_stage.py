import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from pipeline.params import load
from pipeline.stages import split

PARAMS = load(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The manifest of 80 images, as the validate stage leaves it."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "path": f"{'test' if number < 20 else 'train'}/{label}/{number}.jpeg",
            "sha256": f"{label}-{number}",
            "release_split": "test" if number < 20 else "train",
            "label": label,
            "cause": cause,
            "patient": f"{cause}-{number}",
            "problem": "",
        }
        for number in range(40)
        for label, cause in (("NORMAL", "normal"), ("PNEUMONIA", "virus"))
    ]
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "reports").mkdir()
    pd.DataFrame(rows).to_parquet(tmp_path / "artifacts/manifest.parquet")
    return tmp_path


def test_the_stage_writes_splits_summary_and_two_pictures(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split.main(PARAMS)

    splits = pd.read_parquet(workspace / "artifacts/splits.parquet")
    assert list(splits) == ["path", "sha256", "label", "cause", "patient", "group", "fold", "subset"]
    assert json.loads((workspace / "reports/split.json").read_text())["groups"]["test"] == 40
    for name in ("class_distribution", "split_ratio"):
        with Image.open(workspace / "reports/figures" / f"{name}.png") as picture:
            assert picture.width > 600
    assert "test: 40 images of 40 patient groups" in capsys.readouterr().out


def test_a_second_run_writes_the_same_bytes(workspace: Path) -> None:
    outputs = ["artifacts/splits.parquet", "reports/split.json", "reports/figures/class_distribution.png"]

    split.main(PARAMS)
    first = [(workspace / output).read_bytes() for output in outputs]
    split.main(PARAMS)

    assert [(workspace / output).read_bytes() for output in outputs] == first
