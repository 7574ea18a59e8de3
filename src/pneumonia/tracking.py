"""MLflow runs: every model is one run, with what it was told, what it saw, how it learnt and how it was judged."""

import csv
import json
import os
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# MLflow reads these while it is imported: it shall neither phone home nor chat. What the user has set stays.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from filelock import FileLock
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Dataset, DatasetInput, InputTag, LifecycleStage, Metric, Param
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking.context import registry as run_context
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_GIT_COMMIT

from pneumonia import store_address
from pneumonia.errors import TrackingError
from pneumonia.models.bundle import Bundle, DataLineage

EXPERIMENT = "pneumonia"
PHANTOM = "phantom"
BUNDLE_SHA256 = "bundle_sha256"
SECONDS_BETWEEN_SYSTEM_METRICS = 5
SECONDS_UNTIL_UI_ANSWERS = 8
DIGEST_LENGTH = 36  # MLflow takes no longer ones


@dataclass(frozen=True)
class Store:
    """An open MLflow store: its tracking URI, a client of it, and the experiment that holds all runs."""

    uri: str
    client: MlflowClient
    experiment_id: str


@dataclass(frozen=True)
class RunDescription:
    """What is known of a model before it is trained.

    Attributes:
        model: its name in params.yaml.
        kind: how it is made (probe, cnn, finetune).
        data: lineage of its images.
        parameters: everything that training is told, flat.
        git_commit: commit of the code, None outside of git.
    """

    model: str
    kind: str
    data: DataLineage
    parameters: Mapping[str, str | int | float | bool]
    git_commit: str | None

    @classmethod
    def of(cls, bundle: Bundle) -> "RunDescription":
        """Describe the run that made a bundle."""
        card = bundle.card
        return cls(card.name, card.kind, card.data, card.parameters, card.git_commit)

    def tags(self) -> dict[str, str]:
        """Return the facts to search runs and model versions by."""
        tags = {
            "model": self.model,
            "kind": self.kind,
            "source": self.data.source,
            "release": self.data.release,
            "data_hash": self.data.data_hash,
        }
        if self.git_commit:
            tags["git_commit"] = self.git_commit
        if self.is_phantom:
            tags["phantom"] = "true"
        return tags

    @property
    def is_phantom(self) -> bool:
        """Whether the model has seen drawings only, and can say nothing about patients."""
        return self.data.source == PHANTOM

    @property
    def title(self) -> str:
        """The run's name in the MLflow UI."""
        return f"{self.model} (phantom)" if self.is_phantom else self.model


@dataclass(frozen=True)
class Run:
    """A run that can be written to."""

    store: Store
    run_id: str

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Add a value to the history of each metric; for training, ``step`` is the epoch, from 1."""
        now = int(time.time() * 1000)
        entries = [Metric(key, float(value), now, step) for key, value in metrics.items()]
        self.store.client.log_batch(self.run_id, metrics=entries)

    def log_files(self, files: Iterable[Path], folder: str) -> None:
        """Store files as artifacts in a folder of the run."""
        for file in files:
            self.store.client.log_artifact(self.run_id, str(file), folder)

    def log_bundle(self, bundle: Bundle) -> None:
        """Store the bundle as artifacts in ``bundle/``, and its validation metrics."""
        self.log_metrics(_with_prefix("validation", bundle.card.validation))
        self.store.client.log_artifacts(self.run_id, str(bundle.folder), "bundle")
        self.store.client.set_tag(self.run_id, BUNDLE_SHA256, bundle.card.model_sha256)


@contextmanager
def explain_refusals() -> Iterator[None]:
    """Turn what MLflow raises into a TrackingError (also usable as a decorator)."""
    try:
        yield
    except MlflowException as error:
        raise TrackingError(
            f"the MLflow store refused: {error.message}\n"
            "Expected a store that can be written to. Check MLFLOW_TRACKING_URI, or unset it to use mlruns/mlflow.db."
        ) from error


@explain_refusals()
def open_store(root: Path) -> Store:
    """Open the MLflow store: ``MLFLOW_TRACKING_URI`` when it is set, else ``<root>/mlruns/mlflow.db``.

    Artifacts of a SQLite store lie in ``artifacts/`` beside the database, under absolute paths; a tracking server
    decides for itself. Any number of processes may open a fresh store at once.

    Raises:
        TrackingError: the store cannot be reached, or its schema is of another MLflow version.
    """
    uri = store_address.tracking_uri(root)
    database = store_address.database(uri)
    if database is None:
        return _connect(uri, artifacts=None)
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):  # MLflow makes the tables on the first connection, and is not safe in that
        return _connect(uri, artifacts=(database.parent / "artifacts").as_uri())


@explain_refusals()
def find_store(root: Path) -> Store | None:
    """Open the store that `open_store` opens, to read from it; None where nothing was ever logged. Makes nothing.

    Raises:
        TrackingError: the store cannot be reached, or its schema is of another MLflow version.
    """
    uri = store_address.tracking_uri(root)
    if not store_address.exists(uri):
        return None
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return Store(uri, client, experiment.experiment_id) if experiment else None


def _connect(uri: str, artifacts: str | None) -> Store:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT, artifacts)
    return Store(uri, client, experiment_id)


@contextmanager
def start_run(store: Store, description: RunDescription, run_id: str | None = None) -> Iterator[Run]:
    """Write to a run while the block lasts, with the machine's load recorded beside it.

    The run ends as FINISHED, as KILLED on Ctrl-C, or as FAILED on any other exception. After a hard kill it stays
    RUNNING until it is resumed.

    Args:
        store: where the run is.
        description: what a new run is about.
        run_id: the run to go on with. A new one starts when the store does not know it or its parameters differ.

    Raises:
        TrackingError: the store refuses.
    """
    with explain_refusals():
        run = _resume(store, description, run_id) or _create(store, description)
        monitor: Any = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
            run.run_id, SECONDS_BETWEEN_SYSTEM_METRICS, resume_logging=True, tracking_uri=store.uri
        )
        monitor.start()
        try:
            yield run
        except BaseException as error:
            monitor.finish()
            with suppress(MlflowException):  # a store that is gone must not hide what went wrong
                status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
                store.client.set_terminated(run.run_id, status)
            raise
        monitor.finish()
        store.client.set_terminated(run.run_id, "FINISHED")


@explain_refusals()
def log_evaluation(
    store: Store, run_id: str, metrics: Mapping[str, Mapping[str, float]], files: Iterable[Path] = ()
) -> None:
    """Put a model's evaluation into the run that trained it; the run's status and duration stay as they are.

    Args:
        store: where the run is.
        run_id: the training run.
        metrics: per subset (``validation``, ``test``) the value of each metric; logged as ``<subset>/<metric>``.
        files: pictures and tables, stored in ``evaluation/``.

    Raises:
        TrackingError: the store refuses, or does not know the run; `ensure_run` logs it again.
    """
    run = Run(store, run_id)
    for subset, values in metrics.items():
        run.log_metrics(_with_prefix(subset, values))
    run.log_files(files, "evaluation")


@explain_refusals()
def ensure_run(store: Store, bundle: Bundle, history: Path | None = None, files: Iterable[Path] = ()) -> str:
    """Return the run of a bundle; log it again from the bundle when the store does not know it.

    That is so in a fresh clone, where DVC brings the bundle and not the MLflow store. The new run is tagged
    ``restored``, and is found again by the hash of its bundle on the next call.

    Args:
        store: where the run should be.
        bundle: the trained model.
        history: CSV of the training, one row per epoch: column ``epoch`` and one per metric.
        files: what else training has left, stored in ``train/``.

    Raises:
        TrackingError: the store refuses.
    """
    if _is_known(store, bundle.card.mlflow_run_id):
        return bundle.card.mlflow_run_id
    twins = store.client.search_runs(
        [store.experiment_id], f"tags.{BUNDLE_SHA256} = '{bundle.card.model_sha256}'", max_results=1
    )
    if twins:
        return str(twins[0].info.run_id)
    run = _create(store, RunDescription.of(bundle), restored="true", trained_as=bundle.card.mlflow_run_id)
    if history is not None:
        for epoch, metrics in _read_history(history):
            run.log_metrics(metrics, epoch)
    run.log_files(files, "train")
    run.log_bundle(bundle)
    store.client.set_terminated(run.run_id)
    return run.run_id


def serve_ui(root: Path, *, port: int, open_browser: bool) -> None:
    """Serve the MLflow UI of a store on localhost until interrupted, and say where its runs are.

    Args:
        root: project whose ``mlruns/`` is shown; with ``MLFLOW_TRACKING_URI`` set, that store instead.
        port: on 127.0.0.1.
        open_browser: also open the page of the runs.

    Raises:
        TrackingError: the store or the port cannot be had.
    """
    store = open_store(root)
    page = f"http://127.0.0.1:{port}/#/experiments/{store.experiment_id}/runs"
    server = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    server += ["--backend-store-uri", store.uri]
    print(f"The runs: {page}   (Ctrl-C ends it)", flush=True)
    opener = threading.Timer(SECONDS_UNTIL_UI_ANSWERS, webbrowser.open, [page])
    opener.daemon = True
    if open_browser:
        opener.start()
    with suppress(KeyboardInterrupt):
        # Jobs serve evaluations with language models; without them the server starts in half the time.
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        code = subprocess.run(server, env=environment, check=False).returncode
        if code:
            raise TrackingError(f"the MLflow UI ended with status {code}. Is port {port} taken? Try another --port.")


def _create(store: Store, description: RunDescription, **tags: str) -> Run:
    known = description.tags() | tags
    if description.git_commit:
        known[MLFLOW_GIT_COMMIT] = description.git_commit
    # The context adds what mlflow.start_run() would: user, source file, source type.
    info = store.client.create_run(
        store.experiment_id, tags=run_context.resolve_tags(known), run_name=description.title
    ).info
    store.client.log_batch(info.run_id, params=_params(description))
    store.client.log_inputs(info.run_id, [_dataset(description.data)])
    return Run(store, info.run_id)


def _resume(store: Store, description: RunDescription, run_id: str | None) -> Run | None:
    if run_id is None or not _is_known(store, run_id):
        return None
    recorded = store.client.get_run(run_id).data.params
    if recorded != {param.key: param.value for param in _params(description)}:
        return None  # parameters of a run cannot change: this is another experiment
    store.client.update_run(run_id, status="RUNNING")
    return Run(store, run_id)


def _is_known(store: Store, run_id: str) -> bool:
    try:
        return bool(store.client.get_run(run_id).info.lifecycle_stage == LifecycleStage.ACTIVE)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _params(description: RunDescription) -> list[Param]:
    return [Param(key, str(value)) for key, value in description.parameters.items()]


def _dataset(data: DataLineage) -> DatasetInput:
    entity = Dataset(
        name=f"{data.source} {data.release}".strip(),
        digest=data.data_hash[:DIGEST_LENGTH],
        source_type="code",
        source=json.dumps({"tags": {"source": data.source, "release": data.release, "sha256": data.data_hash}}),
        profile=json.dumps(data.counts, sort_keys=True),
    )
    return DatasetInput(entity, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])


def _with_prefix(subset: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{subset}/{name}": value for name, value in metrics.items()}


def _read_history(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            epoch = int(float(row.pop("epoch")))
            yield epoch, {name: float(value) for name, value in row.items() if value}
