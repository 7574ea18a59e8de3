"""Which profile a model is compared with."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from pneumonia.errors import MonitoringError
from pneumonia.models import bundle as bundles
from pneumonia.monitoring import located, profile
from pneumonia.serving import Choice
from tests import readme

RELEASE = bundles.read(readme.ROOT / "release")


def test_the_release_comes_with_the_profile_of_its_own_network_on_its_validation_images(tmp_path: Path) -> None:
    file = located.locate(Choice(RELEASE.folder, "release"), tmp_path, "any")
    assert file == RELEASE.folder / profile.FILE
    counted = profile.read(file)["label"].value_counts().to_dict()
    assert counted == RELEASE.card.data.counts["validation"]


def test_a_profile_of_other_weights_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "artifacts/monitor").mkdir(parents=True)
    of_stage = tmp_path / "artifacts/monitor" / f"{RELEASE.card.name}.parquet"
    known = profile.read(RELEASE.folder / profile.FILE)
    shutil.copytree(RELEASE.folder, tmp_path / "bundle", ignore=shutil.ignore_patterns(profile.FILE, "reports"))
    choice = Choice(tmp_path / "bundle", "a copy")
    known.assign(bundle_sha256="ab" * 32).to_parquet(of_stage)
    with pytest.raises(MonitoringError, match="found none of this model"):
        located.locate(choice, tmp_path, "any")
    known.to_parquet(of_stage)
    assert located.locate(choice, tmp_path, "any") == of_stage


def test_a_file_that_is_no_profile_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.parquet"
    pd.DataFrame({"status": ["answered"]}).to_parquet(file)
    with pytest.raises(MonitoringError, match="lacks model"):
        profile.read(file)
