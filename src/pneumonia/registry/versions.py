"""Versions of the registered model as the MLflow registry knows them: which there are, and what belongs to each."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pneumonia import cache
from pneumonia.errors import EvidenceError, TrackingError
from pneumonia.evaluation.gate import Evidence
from pneumonia.models.bundle import CARD_FILE
from pneumonia.tracking import BUNDLE_SHA256, Store, explain_refusals

CHALLENGER = "challenger"
CHAMPION = "champion"

CARD_SHA256 = "card_sha256"
EVIDENCE = "evidence"
"""Folder of a version's run that holds what the gate reads, laid out as reports/ is."""


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        name: of the registered model.
        number: of the version.
        created: when it was registered.
        run_id: its MLflow run.
        source: the logged model, as ``models:/<id>``.
        tags: facts to search by: lineage, figures, verdicts.
        aliases: which it has now.
        description: for people, Markdown.
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
        """Whether `registration.register` made it, and not somebody else by other means."""
        return BUNDLE_SHA256 in self.tags


@dataclass(frozen=True)
class Champion:
    """The version that answers: of which registered model, its number, and the folder of its bundle."""

    name: str
    version: int
    bundle: Path


@explain_refusals()
def aliases(store: Store, name: str) -> dict[str, int]:
    """Return the version of each alias; nothing where the model is not registered."""
    found = store.client.search_registered_models(f"name = '{name}'")
    return {alias: int(number) for alias, number in found[0].aliases.items()} if found else {}


@explain_refusals()
def every(store: Store, name: str) -> list[Version]:
    """Return all versions, the latest first."""
    held = aliases(store, name)
    found = store.client.search_model_versions(f"name = '{name}'", order_by=["version_number DESC"])
    return [_version(version, held) for version in found]


@explain_refusals()
def get(store: Store, name: str, number: int) -> Version:
    """Return one version.

    Raises:
        TrackingError: there is none of that number, or the store refuses.
    """
    from mlflow import MlflowException  # after `tracking`, which keeps MLflow quiet

    try:
        found = store.client.get_model_version(name, str(number))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        numbers = ", ".join(str(version.number) for version in reversed(every(store, name))) or "none"
        raise TrackingError(
            f"{name} has no version {number}; it has {numbers}. `pneumonia versions` lists them."
        ) from None
    return _version(found, aliases(store, name))


def champion(store: Store, name: str) -> Champion | None:
    """Return the version with the alias ``champion``, None where no version has it; see `bundle`.

    Raises:
        TrackingError: the store refuses, or the version was not made by `registration.register`.
    """
    number = aliases(store, name).get(CHAMPION)
    return Champion(name, number, bundle(store, get(store, name, number))) if number is not None else None


@explain_refusals()
def bundle(store: Store, version: Version) -> Path:
    """Return the folder of a version's bundle.

    The bundle of a local store is used where it lies; that of a server is downloaded once and kept in
    ``$XDG_CACHE_HOME/pneumonia`` (``~/.cache/pneumonia``).

    Raises:
        TrackingError: the store refuses, or the version was not made by `registration.register`.
    """
    if not version.is_registered_here:
        raise TrackingError(
            f"version {version.number} of {version.name} has no tag {BUNDLE_SHA256}: it was not registered by this "
            "project. Give its aliases to a version that `dvc repro register` has made."
        )
    logged = store.client.get_logged_model(version.source.removeprefix("models:/"))
    kept = f"{version.tags[BUNDLE_SHA256]}-{version.tags.get(CARD_SHA256, '')[:16]}"
    artifacts = _fetch(store, f"{logged.artifact_location}/artifacts", kept)
    (card,) = artifacts.glob(f"*/{CARD_FILE}")
    return card.parent


@explain_refusals()
def evidence(store: Store, version: Version) -> Evidence:
    """Return what the gate reads of a version.

    Raises:
        EvidenceError: the version was registered without.
        TrackingError: the store refuses.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if not store.client.list_artifacts(version.run_id, EVIDENCE):
            raise EvidenceError(
                f"version {version.number} of {version.name} has no evidence in its run, so that it cannot be judged. "
                "Run `dvc repro --force --single-item register` in the project that has made it."
            )
        return Evidence.read(Path(store.client.download_artifacts(version.run_id, EVIDENCE, scratch)))


def _version(found: Any, held: Mapping[str, int]) -> Version:
    number = int(found.version)
    return Version(
        name=found.name,
        number=number,
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        run_id=str(found.run_id),
        source=str(found.source),
        tags=dict(found.tags),
        aliases=tuple(sorted(alias for alias, held_by in held.items() if held_by == number)),
        description=found.description or "",
    )


def _fetch(store: Store, location: str, name: str) -> Path:
    from mlflow.artifacts import download_artifacts  # after `tracking`, which keeps MLflow quiet

    if location.startswith("file:"):
        return Path(download_artifacts(location))  # gives the folder itself
    kept = cache.folder() / name
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            Path(download_artifacts(location, dst_path=scratch, tracking_uri=store.uri)).rename(kept)
    return kept
