"""The reference profile of a champion that is served on a machine without the pipeline's artifacts."""

from pathlib import Path

import pandas as pd
import pytest

from pneumonia.bundle import bundle as bundles
from pneumonia.core.errors import MonitoringError
from pneumonia.monitoring import profile
from pneumonia.monitoring.profile_lookup import find_profile
from pneumonia.registry import tracking, versions
from pneumonia.registry.resolve import ResolvedBundle
from tests.support import readme
from tests.unit.registry.conftest import NAME, Registry


def test_profile_is_read_from_the_run_of_the_champion(
    registered: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registered.store.uri)
    number = 1
    version = versions.get(registered.store, NAME, number)
    folder = versions.bundle(registered.store, version)
    card = bundles.read(folder).card
    choice = ResolvedBundle(folder, "champion", number)
    with pytest.raises(MonitoringError, match="in the MLflow run of its version"):
        find_profile(choice, tmp_path, NAME)
    known = profile.read(readme.ROOT / "release" / profile.FILE).assign(bundle_sha256=card.sha256)
    known.to_parquet(tmp_path / f"{card.name}.parquet")
    run = tracking.Run(registered.store, version.run_id)
    run.log_files([tmp_path / f"{card.name}.parquet"], profile.MLFLOW_FOLDER)
    found = find_profile(choice, tmp_path, NAME)
    pd.testing.assert_frame_equal(profile.read(found), known)
