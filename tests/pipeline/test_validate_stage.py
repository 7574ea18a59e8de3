import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.params import load
from pipeline.stages import validate
from pneumonia.core.errors import ValidationError
from pneumonia.data.dataset_reports import SourceRecord

PARAMS = load(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve downloaded images, as the download stage leaves them."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for number in range(3):
            for path in (
                f"{split}/NORMAL/IM-{split == 'test':d}00{number}-0001.jpeg",
                f"{split}/PNEUMONIA/person{split == 'test':d}0{number}_virus_1.jpeg",
            ):
                file = tmp_path / "artifacts" / "raw" / path
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(generator.integers(0, 256, (120, 120), dtype=np.uint8)).save(file)
    counts = {split: {"NORMAL": 3, "PNEUMONIA": 3} for split in ("train", "test")}
    (tmp_path / "reports").mkdir()
    record = SourceRecord(
        source="folder",
        release="own",
        sha256="0" * 64,
        files=12,
        counts=counts,
        full_size=None,
        missing=(),
        ignored=0,
        patients_file=False,
    )
    (tmp_path / "reports" / "download.json").write_text(record.model_dump_json())
    return tmp_path


def test_a_good_dataset_gets_manifest_report_and_pages(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validate.main(PARAMS)

    assert len(pd.read_parquet(workspace / "artifacts/manifest.parquet")) == 12
    assert json.loads((workspace / "reports/validation.json").read_text())["success"] is True
    assert (workspace / "artifacts/data_docs/index.html").is_file()
    printed = capsys.readouterr().out
    assert "test 3 NORMAL + 3 PNEUMONIA, train 3 NORMAL + 3 PNEUMONIA" in printed
    assert "artifacts/data_docs/index.html" in printed


def test_a_bad_dataset_is_refused_after_its_report_is_written(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = "train/NORMAL/IM-0000-0001.jpeg"
    (workspace / "artifacts/raw" / broken).write_bytes(b"")

    with pytest.raises(ValidationError, match=broken):
        validate.main(PARAMS)

    report = json.loads((workspace / "reports/validation.json").read_text())
    assert report["success"] is False
    assert report["quarantined"] == [{"path": broken, "reason": "the file is empty (0 bytes). Fetch it again."}]
    assert f"{broken}: the file is empty" in capsys.readouterr().out
    assert (workspace / "artifacts/data_docs/index.html").is_file()


def test_a_second_run_writes_the_same_report_and_manifest(workspace: Path) -> None:
    outputs = [workspace / "artifacts/manifest.parquet", workspace / "reports/validation.json"]

    validate.main(PARAMS)
    first = [output.read_bytes() for output in outputs]
    validate.main(PARAMS)

    assert [output.read_bytes() for output in outputs] == first
