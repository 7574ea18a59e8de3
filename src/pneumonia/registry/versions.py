"""Versions of a registered model in the MLflow registry, and the bundle and reports of each."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pneumonia.bundle.bundle import CARD_FILE
from pneumonia.core import cache
from pneumonia.core.errors import EvidenceError, TrackingError
from pneumonia.registry.promotion_evidence import Evidence
from pneumonia.registry.tracking import BUNDLE_SHA256, Store, explain_refusals

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER = "challenger"
"""Alias of the version that was registered last."""
CHAMPION = "champion"
"""Alias of the version that is served."""

EVIDENCE = "evidence"
"""Folder of a version's run with the reports that the gate reads, laid out as reports/ is."""


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        name: of the registered model.
        number: of the version, from 1.
        created: time of registration, UTC.
        run_id: its MLflow run, which has the tag ``git_commit`` if the code was in git.
        source: the logged model, as ``models:/<id>``.
        tags: lineage, metrics and verdicts, to search by.
        aliases: that it has now, sorted.
        description: Markdown, shown in the MLflow UI.
    """

    name: str
    number: int
    created: datetime
    run_id: str
    source: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    description: str

    @property
    def is_registered_here(self) -> bool:
        """Whether `registration.register` created it, and not another tool."""
        return BUNDLE_SHA256 in self.tags


@dataclass(frozen=True)
class Champion:
    """The version with the alias ``champion``.

    Attributes:
        name: of the registered model.
        version: its number.
        bundle: folder of its bundle.
    """

    name: str
    version: int
    bundle: Path


@explain_refusals()
def aliases(store: Store, name: str) -> dict[str, int]:
    """Return the version number of each alias; empty if the model is not registered."""
    models = store.client.search_registered_models(f"name = '{name}'")
    return {alias: int(number) for alias, number in models[0].aliases.items()} if models else {}


@explain_refusals()
def list_all(store: Store, name: str) -> list[Version]:
    """Return all versions of a registered model, newest first."""
    current = aliases(store, name)
    registered = store.client.search_model_versions(f"name = '{name}'", order_by=["version_number DESC"])
    return [_version(version, current) for version in registered]


@explain_refusals()
def get(store: Store, name: str, number: int) -> Version:
    """Return one version.

    Raises:
        TrackingError: there is no version of that number, or the store refuses.
    """
    from mlflow import MlflowException  # after `tracking`, which configures MLflow's logging

    try:
        version = store.client.get_model_version(name, str(number))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        numbers = ", ".join(str(version.number) for version in reversed(list_all(store, name))) or "none"
        raise TrackingError(
            f"{name} has no version {number}; its versions are: {numbers}. `pneumonia versions` describes them."
        ) from None
    return _version(version, aliases(store, name))


def champion(store: Store, name: str) -> Champion | None:
    """Return the version with the alias ``champion``, or None if no version has it; see `bundle`.

    Raises:
        TrackingError: the store refuses, or the version was not created by `registration.register`.
    """
    number = aliases(store, name).get(CHAMPION)
    return Champion(name, number, bundle(store, get(store, name, number))) if number is not None else None


@explain_refusals()
def bundle(store: Store, version: Version) -> Path:
    """Return the folder of a version's bundle.

    The bundle of a local store is used in place. The bundle of a server is downloaded once, to
    ``$XDG_CACHE_HOME/pneumonia`` (``~/.cache/pneumonia``).

    Raises:
        TrackingError: the store refuses, or the version was not created by `registration.register`.
    """
    if not version.is_registered_here:
        raise TrackingError(
            f"version {version.number} of {version.name} has no tag {BUNDLE_SHA256}: it was not registered by this "
            "project. Set its aliases to a version that `dvc repro register` has created."
        )
    logged = store.client.get_logged_model(version.source.removeprefix("models:/"))
    artifacts = _download(store, f"{logged.artifact_location}/artifacts", version.tags[BUNDLE_SHA256])
    (card,) = artifacts.glob(f"*/{CARD_FILE}")
    return card.parent


@explain_refusals()
def evidence(store: Store, version: Version) -> Evidence:
    """Return the reports of a version that the gate reads.

    Raises:
        EvidenceError: the version was registered without them.
        TrackingError: the store refuses.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if not store.client.list_artifacts(version.run_id, EVIDENCE):
            raise EvidenceError(
                f"version {version.number} of {version.name} has no evidence in its run, so the gate cannot evaluate "
                "it. Run `dvc repro register` in the project that trained it."
            )
        return Evidence.read(Path(store.client.download_artifacts(version.run_id, EVIDENCE, scratch)))


def _version(registered: "ModelVersion", current: Mapping[str, int]) -> Version:
    number = int(registered.version)
    return Version(
        name=registered.name,
        number=number,
        created=datetime.fromtimestamp(registered.creation_timestamp / 1000, UTC),
        run_id=str(registered.run_id),
        source=str(registered.source),
        tags=dict(registered.tags),
        aliases=tuple(sorted(alias for alias, holder in current.items() if holder == number)),
        description=registered.description or "",
    )


def _download(store: Store, location: str, cache_key: str) -> Path:
    """Return the local folder of artifacts; those of a server are downloaded to the cache once."""
    from mlflow.artifacts import download_artifacts  # after `tracking`, which configures MLflow's logging

    if location.startswith("file:"):
        return Path(download_artifacts(location))  # returns the folder itself, nothing is copied
    cached = cache.folder() / cache_key
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as scratch:
            Path(download_artifacts(location, dst_path=scratch, tracking_uri=store.uri)).rename(cached)
    return cached
