"""A champion that is served where no pipeline has run, and what it is compared with."""

from pathlib import Path

import pandas as pd
import pytest

from pneumonia import tracking
from pneumonia.errors import MonitoringError
from pneumonia.models import bundle as bundles
from pneumonia.monitoring import located, profile
from pneumonia.registry import versions
from pneumonia.serving import Choice
from tests import readme
from tests.registry.conftest import NAME, Registry


def test_a_champion_brings_its_profile_in_its_run(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the stage logs it; where the model is served there is no pipeline."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.store.uri)
    number = registry.register()
    version = versions.get(registry.store, NAME, number)
    folder = versions.bundle(registry.store, version)
    card = bundles.read(folder).card
    choice = Choice(folder, "champion", number)
    with pytest.raises(MonitoringError, match="in the run of its version"):
        located.locate(choice, tmp_path, NAME)
    known = profile.read(readme.ROOT / "release" / profile.FILE).assign(bundle_sha256=card.model_sha256)
    known.to_parquet(tmp_path / f"{card.name}.parquet")
    run = tracking.Run(registry.store, version.run_id)
    run.log_files([tmp_path / f"{card.name}.parquet"], profile.FOLDER_OF_RUN)
    found = located.locate(choice, tmp_path, NAME)
    pd.testing.assert_frame_equal(profile.read(found), known)
