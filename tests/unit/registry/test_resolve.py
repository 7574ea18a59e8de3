"""The bundle to predict with when none is given: the champion of an MLflow store, a release, or none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia.bundle import bundle as bundles
from pneumonia.core.errors import BundleError, TrackingError
from pneumonia.registry import resolve, tracking, versions
from tests.support import bright, mlflow_store
from tests.unit.registry.conftest import NAME, ROOT, Registry

DATA = bundles.DataLineage("phantom", "", "5e" * 32, {})


def write_bundle(folder: Path, slope: float) -> bundles.Bundle:
    return bright.write_bundle(folder, slope=slope, data=DATA)


@pytest.fixture
def project(registered: Registry) -> Path:
    """A project with three versions in its registry, the first of them the champion."""
    registered.store.client.set_registered_model_alias(NAME, "champion", "1")
    return registered.project


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and a package that is not an editable install."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(resolve, "CODE", tmp_path / "nowhere")
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def test_champion_takes_precedence_over_newer_versions_and_the_release(project: Path, empty: Path) -> None:
    choice = resolve.resolve_bundle(project)
    assert choice.origin == "version 1 of pneumonia-classifier (champion)"
    first = versions.get(tracking.open_store(project), NAME, 1)
    assert bundles.read(choice.folder).card.sha256 == first.tags["bundle_sha256"]


def test_tracking_uri_names_another_store(project: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(ROOT / "params.yaml", empty / "params.yaml")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project / 'mlruns/mlflow.db'}")
    assert resolve.resolve_bundle(empty).origin.startswith("version 1 ")


def test_release_is_used_without_a_champion(project: Path, empty: Path, tmp_path: Path) -> None:
    store = tracking.open_store(project)
    store.client.delete_registered_model_alias(NAME, "champion")
    with pytest.raises(BundleError, match="no version in the registry has the alias champion"):
        resolve.resolve_bundle(project)
    write_bundle(project / "release", 0.03)
    assert resolve.resolve_bundle(project) == resolve.ResolvedBundle(project / "release", "release")


def test_release_of_the_installed_project_is_the_last_choice(empty: Path) -> None:
    write_bundle(resolve.CODE / "release", 0.03)
    assert resolve.resolve_bundle(empty) == resolve.ResolvedBundle(resolve.CODE / "release", "release")
    write_bundle(empty / "release", 0.04)
    assert resolve.resolve_bundle(empty).folder == empty / "release", "that of the current project takes precedence"


@pytest.mark.parametrize("named", [True, False])
def test_resolving_creates_nothing_and_the_error_says_what_to_do(
    empty: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    shutil.copyfile(ROOT / "params.yaml", empty / "params.yaml")
    if named:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{empty / 'store/mlflow.db'}")
    with pytest.raises(BundleError, match="--bundle"):
        resolve.resolve_bundle(empty)
    assert [path.name for path in empty.iterdir()] == ["params.yaml"]
    assert tracking.find_store(empty) is None


def test_finding_a_store_changes_nothing_in_it(migrated_store: Path, empty: Path, tmp_path: Path) -> None:
    """Also in the store of another project, without the experiment of this one."""
    from mlflow import MlflowClient

    foreign = mlflow_store.copy(migrated_store, tmp_path / "foreign")
    client = MlflowClient(f"sqlite:///{foreign / 'mlruns/mlflow.db'}")
    client.create_experiment("another")
    assert tracking.find_store(foreign) is None
    assert {experiment.name for experiment in client.search_experiments()} == {"Default", "another"}


def test_champion_registered_by_another_tool_is_refused(project: Path, empty: Path) -> None:
    store = tracking.open_store(project)
    store.client.create_registered_model("foreign")
    store.client.create_model_version("foreign", source="/somewhere")
    store.client.set_registered_model_alias("foreign", "champion", "1")
    with pytest.raises(TrackingError, match=r"version 1 of foreign .* not registered"):
        versions.champion(store, "foreign")
    assert versions.champion(store, "unheard-of") is None


def test_bundle_of_a_server_is_downloaded_once(
    project: Path, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain path, which is no file: URI, stands for the artifacts of a server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = tracking.find_store(project)
    assert store is not None
    found = versions.champion(store, NAME)
    assert found is not None
    sha256 = bundles.read(found.bundle).card.sha256
    remote = tmp_path / "remote"
    shutil.copytree(found.bundle.parent, remote)
    for _ in range(2):
        fetched = versions._download(store, str(remote), sha256)
        assert fetched == tmp_path / "cache" / "pneumonia" / sha256
        assert bundles.read(fetched / found.bundle.name).card.sha256 == sha256
        shutil.rmtree(remote, ignore_errors=True)  # so a second download would fail
    assert [path.name for path in fetched.parent.iterdir()] == [sha256]


def test_mlflow_is_not_imported_without_a_store(empty: Path) -> None:
    write_bundle(empty / "release", 0.03)
    script = (
        "import sys; from pathlib import Path; from pneumonia.registry import resolve\n"
        "print(resolve.resolve_bundle(Path()).origin); sys.exit('mlflow' in sys.modules)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=empty, env=environment, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "release\n"), done.stderr
