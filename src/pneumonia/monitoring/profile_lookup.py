"""Find the reference profile of a bundle: in its folder, in the project, or in its MLflow run."""

import tempfile
from pathlib import Path

from pneumonia.bundle import bundle as bundles
from pneumonia.core import cache, paths
from pneumonia.core.errors import MonitoringError
from pneumonia.monitoring import profile
from pneumonia.registry import tracking, versions
from pneumonia.registry.resolve import ResolvedBundle


def find_profile(resolved: ResolvedBundle, project: Path, registered: str) -> Path:
    """Return the file with the reference profile of a bundle.

    Args:
        resolved: the bundle.
        project: folder of the project, whose pipeline may have written ``artifacts/profiles``.
        registered: name of the model in the registry, for a version that is used where no pipeline has run.

    Raises:
        MonitoringError: no profile of this bundle exists.
        TrackingError: the registry cannot be read.
    """
    card = bundles.read(resolved.folder).card
    in_bundle, in_project = resolved.folder / profile.FILE, project / paths.PROFILES / f"{card.name}.parquet"
    for file in (in_bundle, in_project):
        if file.is_file() and _matches(file, card.sha256):
            return file
    downloaded = None if resolved.version is None else _download(project, registered, resolved.version, card)
    if downloaded and _matches(downloaded, card.sha256):
        return downloaded
    raise MonitoringError(
        f"expected the reference profile of {card.name} ({card.sha256[:12]}) in {in_bundle}, in {in_project} or "
        "in the MLflow run of its version, found none of this bundle. Run `dvc repro profile`, or name a profile "
        "(--reference)."
    )


def _matches(file: Path, bundle_sha256: str) -> bool:
    return set(profile.read(file)["bundle_sha256"]) == {bundle_sha256}


def _download(project: Path, registered: str, number: int, card: bundles.Card) -> Path | None:
    """Return the profile in the MLflow run of a version, downloaded once; None if the run has none."""
    cached = cache.folder() / "profiles" / f"{card.sha256}.parquet"
    store = tracking.find_store(project)
    if cached.is_file() or store is None:
        return cached if cached.is_file() else None
    run = versions.get(store, registered, number).run_id
    logged = f"{profile.MLFLOW_FOLDER}/{card.name}.parquet"
    if logged not in {file.path for file in store.client.list_artifacts(run, profile.MLFLOW_FOLDER)}:
        return None
    cached.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cached.parent) as scratch:
        Path(store.client.download_artifacts(run, logged, scratch)).replace(cached)
    return cached
