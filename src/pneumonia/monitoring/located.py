"""Where the reference profile of the model that answers is: with its bundle, in the project, or in its MLflow run."""

import tempfile
from pathlib import Path

from pneumonia import cache, tracking
from pneumonia.errors import MonitoringError
from pneumonia.models import bundle as bundles
from pneumonia.monitoring import profile
from pneumonia.registry import versions
from pneumonia.serving import Choice


def locate(choice: Choice, project: Path, registered: str) -> Path:
    """Return the file of the profile.

    Args:
        choice: the bundle that answers.
        project: with ``artifacts/monitor``, where its pipeline has run.
        registered: name of the model in the registry, for a version that is served where no pipeline has run.

    Raises:
        MonitoringError: it is nowhere.
        TrackingError: the registry cannot be asked.
    """
    card = bundles.read(choice.folder).card
    beside, of_stage = choice.folder / profile.FILE, project / "artifacts" / "monitor" / f"{card.name}.parquet"
    for file in (beside, of_stage):
        if file.is_file() and _is_of(file, card.model_sha256):
            return file
    fetched = None if choice.version is None else _of_version(project, registered, choice.version, card)
    if fetched and _is_of(fetched, card.model_sha256):
        return fetched
    raise MonitoringError(
        f"expected the reference profile of {card.name} in {beside}, in {of_stage} or in the run of its version, "
        "found none of this model. Run `dvc repro monitor`, or name one (--reference)."
    )


def _is_of(file: Path, bundle_sha256: str) -> bool:
    return set(profile.read(file)["bundle_sha256"]) == {bundle_sha256}


def _of_version(project: Path, registered: str, number: int, card: bundles.Card) -> Path | None:
    """Return the profile that the stage has logged, downloaded once."""
    kept = cache.folder() / "profiles" / f"{card.model_sha256}.parquet"
    store = tracking.find_store(project)
    if kept.is_file() or store is None:
        return kept if kept.is_file() else None
    run = versions.get(store, registered, number).run_id
    logged = f"{profile.FOLDER_OF_RUN}/{card.name}.parquet"
    if logged not in {file.path for file in store.client.list_artifacts(run, profile.FOLDER_OF_RUN)}:
        return None
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        Path(store.client.download_artifacts(run, logged, scratch)).replace(kept)
    return kept
