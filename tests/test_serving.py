"""Which model answers when none is named: a champion in a real MLflow store, a release, or nobody."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia import serving, tracking
from pneumonia.errors import BundleError, TrackingError
from pneumonia.models import bundle as bundles
from pneumonia.registry import registration, versions
from pneumonia.tracking import RunDescription
from tests import bright, evidence

PROJECT = Path(__file__).parents[1]
NAME = "pneumonia-classifier"
DATA = bundles.DataLineage("phantom", "", "5e" * 32, {})


def write_bundle(folder: Path, slope: float, run_id: str = "none") -> bundles.Bundle:
    return bright.write_bundle(folder, slope=slope, data=DATA, mlflow_run_id=run_id)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two versions in its registry, the first of them the champion."""
    root = tmp_path_factory.mktemp("project")
    shutil.copyfile(PROJECT / "params.yaml", root / "params.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(sys, "path", list(sys.path))  # MLflow adds the code of each model that it loads
        store = tracking.open_store(root)
        for slope in (0.01, 0.02):
            with tracking.start_run(store, RunDescription("bright", "cnn", DATA, {"slope": slope}, None)) as run:
                bundle = write_bundle(root / f"bundle-{slope}", slope, run.run_id)
                run.log_bundle(bundle)
            reports = evidence.write(root / f"reports-{slope}", bundle)
            registration.register(store, bundle, run.run_id, name=NAME, metrics={}, reports=reports)
    store.client.set_registered_model_alias(NAME, "champion", "1")
    return root


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with nothing in it, and a package that is installed from nowhere."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(serving, "CODE", tmp_path / "nowhere")
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def test_champion_answers_and_not_the_latest_version_or_the_release(registered: Path, empty: Path) -> None:
    choice = serving.choose(registered)
    assert choice.origin == "version 1 of pneumonia-classifier (champion)"
    assert bundles.read(choice.folder).card.parameters == {"slope": 0.01}


def test_tracking_uri_names_another_store(registered: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(PROJECT / "params.yaml", empty / "params.yaml")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{registered / 'mlruns/mlflow.db'}")
    assert serving.choose(empty).origin.startswith("version 1 ")


def test_without_a_champion_the_release_answers(registered: Path, empty: Path, tmp_path: Path) -> None:
    store = tracking.open_store(registered)
    store.client.delete_registered_model_alias(NAME, "champion")
    try:
        with pytest.raises(BundleError, match="no version in the registry has the alias champion"):
            serving.choose(registered)
        write_bundle(registered / "release", 0.03)
        assert serving.choose(registered) == serving.Choice(registered / "release", "release")
    finally:
        shutil.rmtree(registered / "release", ignore_errors=True)
        store.client.set_registered_model_alias(NAME, "champion", "1")


def test_release_of_the_installed_project_answers_anywhere(empty: Path) -> None:
    write_bundle(serving.CODE / "release", 0.03)
    assert serving.choose(empty) == serving.Choice(serving.CODE / "release", "release")
    write_bundle(empty / "release", 0.04)
    assert serving.choose(empty).folder == empty / "release", "the one at hand comes first"


@pytest.mark.parametrize("named", [True, False])
def test_looking_makes_nothing_and_the_error_says_what_to_do(
    empty: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    shutil.copyfile(PROJECT / "params.yaml", empty / "params.yaml")
    if named:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{empty / 'store/mlflow.db'}")
    with pytest.raises(BundleError, match="--bundle"):
        serving.choose(empty)
    assert [path.name for path in empty.iterdir()] == ["params.yaml"]
    assert tracking.find_store(empty) is None


def test_looking_into_a_store_changes_nothing(registered: Path, empty: Path, tmp_path: Path) -> None:
    """Not even in one of another project, without runs of this one."""
    from mlflow import MlflowClient

    foreign = tmp_path / "foreign"
    (foreign / "mlruns").mkdir(parents=True)
    client = MlflowClient(f"sqlite:///{foreign / 'mlruns/mlflow.db'}")
    client.create_experiment("another")
    assert tracking.find_store(foreign) is None
    assert {experiment.name for experiment in client.search_experiments()} == {"Default", "another"}


def test_a_champion_that_the_project_did_not_register_is_refused(registered: Path, empty: Path) -> None:
    store = tracking.open_store(registered)
    store.client.create_registered_model("foreign")
    store.client.create_model_version("foreign", source="/somewhere")
    store.client.set_registered_model_alias("foreign", "champion", "1")
    with pytest.raises(TrackingError, match=r"version 1 of foreign .* not registered"):
        versions.champion(store, "foreign")
    assert versions.champion(store, "unheard-of") is None


def test_bundle_of_a_server_is_downloaded_once(
    registered: Path, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remote is told from its address; here a location that only MLflow resolves stands for a server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = tracking.find_store(registered)
    assert store is not None
    found = versions.champion(store, NAME)
    assert found is not None
    sha256 = bundles.read(found.bundle).card.model_sha256
    remote = tmp_path / "remote"
    shutil.copytree(found.bundle.parent, remote)
    for _ in range(2):
        fetched = versions._fetch(store, str(remote), sha256)
        assert fetched == tmp_path / "cache" / "pneumonia" / sha256
        assert bundles.read(fetched / found.bundle.name).card.model_sha256 == sha256
        shutil.rmtree(remote, ignore_errors=True)  # the second time it is not asked
    assert [path.name for path in fetched.parent.iterdir()] == [sha256]


def test_mlflow_is_not_loaded_where_there_is_no_store(empty: Path) -> None:
    write_bundle(empty / "release", 0.03)
    script = (
        "import sys; from pathlib import Path; from pneumonia import serving\n"
        "print(serving.choose(Path()).origin); sys.exit('mlflow' in sys.modules)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=empty, env=environment, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "release\n"), done.stderr
