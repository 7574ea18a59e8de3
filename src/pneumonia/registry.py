"""Versions of the model in the MLflow registry: how one becomes the challenger, and who is the champion."""

import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

import pneumonia
from pneumonia.data import phantom
from pneumonia.errors import TrackingError
from pneumonia.evaluation.selection import Metrics
from pneumonia.models.bundle import CARD_FILE, Bundle
from pneumonia.tracking import BUNDLE_SHA256, RunDescription, Store, explain_refusals

# MLflow and the served model are imported where they are used: after `tracking`, which keeps MLflow quiet.

CHALLENGER = "challenger"
CHAMPION = "champion"

_REQUIREMENTS = ("keras", "mlflow", "numpy", "pandas", "pillow", "pydicom", "tensorflow-cpu")
"""What a predictor imports. Named here, because MLflow takes ten seconds to find out for itself."""


@dataclass(frozen=True)
class Champion:
    """The version that answers: of which registered model, its number, and the folder of its bundle."""

    name: str
    version: int
    bundle: Path


@explain_refusals()
def champion(store: Store, name: str) -> Champion | None:
    """Return the version with the alias ``champion``, None where no version has it.

    The bundle of a local store is used where it lies; that of a server is downloaded once and kept in
    ``$XDG_CACHE_HOME/pneumonia`` (``~/.cache/pneumonia``).

    Args:
        store: the MLflow store.
        name: of the registered model.

    Raises:
        TrackingError: the store refuses, or the version was not made by `register`.
    """
    registered = store.client.search_registered_models(f"name = '{name}'")
    number = registered[0].aliases.get(CHAMPION) if registered else None
    if number is None:
        return None
    version = store.client.get_model_version(name, str(number))
    if BUNDLE_SHA256 not in version.tags:
        raise TrackingError(
            f"version {number} of {name} has the alias {CHAMPION}, but no tag {BUNDLE_SHA256}: it was not registered "
            "by this project. Give the alias to a version that `dvc repro register` has made."
        )
    logged = store.client.get_logged_model(str(version.source).removeprefix("models:/"))
    artifacts = _fetch(store, f"{logged.artifact_location}/artifacts", version.tags[BUNDLE_SHA256])
    (card,) = artifacts.glob(f"*/{CARD_FILE}")
    return Champion(name, int(number), card.parent)


def _fetch(store: Store, location: str, bundle_sha256: str) -> Path:
    from mlflow.artifacts import download_artifacts

    if location.startswith("file:"):
        return Path(download_artifacts(location))  # gives the folder itself
    kept = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pneumonia" / bundle_sha256
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            Path(download_artifacts(location, dst_path=scratch, tracking_uri=store.uri)).rename(kept)
    return kept


@explain_refusals()
def register(store: Store, bundle: Bundle, run_id: str, *, name: str, metrics: Mapping[str, Metrics]) -> int:
    """Make a bundle the challenger: a version of the registered model that carries its lineage and figures.

    A bundle that is registered already keeps its version; figures and alias are brought up to date. The alias moves
    only after the version has answered an example.

    Args:
        store: the MLflow store.
        bundle: the trained model.
        run_id: its run in the store, as `tracking.ensure_run` gives it.
        name: of the registered model.
        metrics: per subset (``validation``, ``test``) its figures.

    Returns:
        The version, to be loaded as ``models:/<name>/<version>`` or, while it is the latest, as
        ``models:/<name>@challenger``.

    Raises:
        TrackingError: the store refuses, or the logged model cannot answer.
    """
    tags = _tags(bundle, metrics)
    version = _find_version(store, name, bundle) or _create_version(store, name, bundle, run_id, tags)
    for key, value in tags.items():
        store.client.set_model_version_tag(name, version, key, value)
    store.client.update_model_version(name, version, _describe(bundle, metrics))
    store.client.set_registered_model_alias(name, CHALLENGER, version)
    return int(version)


def _find_version(store: Store, name: str, bundle: Bundle) -> str | None:
    registered = store.client.search_model_versions(
        f"name = '{name}' and tag.{BUNDLE_SHA256} = '{bundle.card.model_sha256}'", order_by=["version_number DESC"]
    )
    return str(registered[0].version) if registered else None


def _create_version(store: Store, name: str, bundle: Bundle, run_id: str, tags: dict[str, str]) -> str:
    if not store.client.search_registered_models(f"name = '{name}'"):
        store.client.create_registered_model(name, description="Pneumonia on chest radiographs of children.")
    model_id = _log_model(store, bundle, run_id)
    with _as_current_store(store):
        version = store.client.create_model_version(
            name, source=f"models:/{model_id}", run_id=run_id, tags=tags, model_id=model_id
        )
    return str(version.version)


@contextmanager
def _as_current_store(store: Store) -> Iterator[None]:
    """Make a store the process's current one for a while: MLflow's SQL registry looks ``models:/`` up there."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(store.uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None takes it back


def _log_model(store: Store, bundle: Bundle, run_id: str) -> str:
    """Log a bundle as a pyfunc model of its run, and return the model's id.

    ``mlflow.pyfunc.log_model`` would need the store as global state and the run reopened, which stretches the run's
    duration until now.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    run = store.client.get_run(run_id)
    logged = store.client.create_logged_model(
        run.info.experiment_id,
        name=bundle.card.name,
        source_run_id=run_id,
        params=run.data.params,
        model_type=bundle.card.kind,
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        model = Model(artifact_path=logged.artifact_location, run_id=run_id, model_id=logged.model_id)
        try:
            _save_model(folder, bundle, model)
            _check_that_it_answers(folder)
            store.client.log_model_artifacts(logged.model_id, str(folder))
        except Exception:
            store.client.finalize_logged_model(logged.model_id, "FAILED")
            raise
    store.client.finalize_logged_model(logged.model_id, "READY")
    store.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return str(logged.model_id)


def _save_model(folder: Path, bundle: Bundle, model: Any) -> None:
    import mlflow.pyfunc

    from pneumonia import pyfunc

    mlflow.pyfunc.save_model(
        path=folder,
        mlflow_model=model,
        python_model=pyfunc.__file__,
        artifacts={"bundle": str(bundle.folder)},
        code_paths=[str(Path(pneumonia.__path__[0]))],
        pip_requirements=[f"{package}=={metadata.version(package)}" for package in _REQUIREMENTS],
        signature=pyfunc.SIGNATURE,
        input_example=_example(),
    )


def _check_that_it_answers(folder: Path) -> None:
    import mlflow.pyfunc

    answer = mlflow.pyfunc.load_model(str(folder)).predict(_example())
    probability = answer["probability"].item()
    if not 0 <= probability <= 1:
        raise TrackingError(
            f"the logged model answers an example with probability {probability}, expected 0 to 1. "
            "It stays unregistered. Train it again."
        )


def _example() -> pd.DataFrame:
    """Return the input example: a small phantom as PNG bytes, in the column that the model expects."""
    drawn = phantom.draw(np.random.default_rng(0), "bacteria", size=96, difficulty=0)
    file = io.BytesIO()
    Image.fromarray(drawn.pixels).save(file, "PNG")
    return pd.DataFrame({"image": [file.getvalue()]})


def _tags(bundle: Bundle, metrics: Mapping[str, Metrics]) -> dict[str, str]:
    figures = {
        f"{subset}/{metric}": f"{value:.4f}" for subset, values in metrics.items() for metric, value in values.items()
    }
    return RunDescription.of(bundle).tags() | figures | {BUNDLE_SHA256: bundle.card.model_sha256}


def _describe(bundle: Bundle, metrics: Mapping[str, Metrics]) -> str:
    card, data = bundle.card, bundle.card.data
    description = RunDescription.of(bundle)
    warning = ["**Trained on phantoms: it says nothing about patients.**", ""] if description.is_phantom else []
    figures = sorted({metric for values in metrics.values() for metric in values})
    return "\n".join(
        [
            *warning,
            f"Model `{card.name}` ({card.kind}), {card.image_size} x {card.image_size} pixels, "
            f"operating point {card.threshold:.4f}.",
            "",
            f"| | {' | '.join(metrics)} |",
            f"|---|{'---|' * len(metrics)}",
            *(
                f"| {figure} | {' | '.join(_cell(values.get(figure)) for values in metrics.values())} |"
                for figure in figures
            ),
            "",
            f"Data: {data.source} {data.release}, hash `{data.data_hash}`. "
            f"Code: `{card.git_commit or 'outside of git'}`.",
        ]
    )


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
