"""MLflow runs: one run per trained model, with its parameters, dataset, history and metrics.

Two functions write runs. `start_run` follows a training while it lasts; nothing depends on what it logs. `record`
brings the run of a bundle up to date with everything that the pipeline has written about it; where the store has no
run of the bundle, as in a fresh clone, it creates one.
"""

import csv
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# MLflow reads these while it is imported: no telemetry, no informational log lines. Values set by the user stay.
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

from pneumonia.bundle.bundle import CARD_FILE, Bundle, DataLineage
from pneumonia.core.errors import TrackingError
from pneumonia.registry import address as store_address

EXPERIMENT = "pneumonia"
PHANTOM = "phantom"
NETWORK_SHA256 = "network_sha256"
"""Tag of a run: the weights that it trained (`Card.model_sha256`)."""
BUNDLE_SHA256 = "bundle_sha256"
"""Tag of a run and of a version: identity of the bundle (`Card.sha256`)."""
CONTENT_SHA256 = "content_sha256"
"""Tag of a run: everything that `record` has logged, so that a second call has nothing to do."""
SECONDS_BETWEEN_SYSTEM_METRICS = 5
DIGEST_LENGTH = 36  # MLflow accepts no longer dataset digests


@dataclass(frozen=True)
class Store:
    """An open MLflow store: its tracking URI, a client of it, and the experiment that holds all runs."""

    uri: str
    client: MlflowClient
    experiment_id: str


@dataclass(frozen=True)
class RunDescription:
    """Identify a training: model, data and parameters.

    Attributes:
        model: name in params.yaml.
        kind: how the model is built (probe, cnn, finetune).
        data: lineage of the images.
        parameters: flat settings of the run.
        git_commit: commit of the code, None where it is not known.
    """

    model: str
    kind: str
    data: DataLineage
    parameters: Mapping[str, str | int | float | bool]
    git_commit: str | None = None

    @classmethod
    def of(cls, bundle: Bundle) -> "RunDescription":
        """Return the description of the run that belongs to a bundle; the bundle does not hold the commit."""
        card = bundle.card
        return cls(card.name, card.kind, card.data, card.parameters)

    def tags(self) -> dict[str, str]:
        """Return tags for searching runs and model versions."""
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
        """Whether the model was trained on phantoms and therefore has no meaning for patients."""
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

    def finish_training(self, model_sha256: str) -> None:
        """Mark the run as the training of these weights, so that `record` finds it."""
        self.store.client.set_tag(self.run_id, NETWORK_SHA256, model_sha256)

    def log_files(self, files: Iterable[Path], folder: str) -> None:
        """Store files as artifacts in a folder of the run."""
        for file in files:
            self.store.client.log_artifact(self.run_id, str(file), folder)


@dataclass(frozen=True)
class RunRecord:
    """Everything that the pipeline has written about one model.

    Attributes:
        bundle: the model.
        history: CSV with one row per epoch: column ``epoch`` and one column per metric. None if there is none.
        metrics: value of each metric per subset (``validation``, ``test``); logged as ``<subset>/<metric>``.
        files: files per artifact folder of the run (``train``, ``evaluation``, ...).
    """

    bundle: Bundle
    history: Path | None = None
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    @property
    def content_sha256(self) -> str:
        """Hash of bundle.json, metrics and files."""
        listed = [file for folder in sorted(self.files) for file in self.files[folder]]
        extra = [] if self.history is None else [self.history]
        return _sha256([self.bundle.folder / CARD_FILE, *extra, *listed], json.dumps(self.metrics, sort_keys=True))


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
    """Follow a training: yield a run that logs its metrics, and log system metrics beside them.

    The run ends as FINISHED, as KILLED on Ctrl-C, or as FAILED on any other exception. After a hard kill it stays
    RUNNING until it is resumed.

    Args:
        store: where the run is.
        description: of a new run.
        run_id: the run to resume. A new one starts if the store does not have it or its parameters differ.

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
            with suppress(MlflowException):  # an unreachable store must not mask the original error
                status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
                store.client.set_terminated(run.run_id, status)
            raise
        monitor.finish()
        store.client.set_terminated(run.run_id, "FINISHED")


@explain_refusals()
def record(store: Store, record: RunRecord) -> str:
    """Bring the run of a bundle up to date and return its id.

    The run is the newest one that trained these weights (tag `NETWORK_SHA256`, set by `Run.finish_training`), unless
    it already belongs to another bundle, for example one with another calibration. Where there is none, a run is
    created from the bundle and tagged ``restored``. A second call with the same content writes nothing.

    Raises:
        TrackingError: the store refuses.
    """
    card, content_sha256 = record.bundle.card, record.content_sha256
    logged = _run_of(store, record.bundle)
    if logged is None:
        run = _create(store, RunDescription.of(record.bundle), restored="true")
        if record.history is not None:
            for epoch, metrics in _read_history(record.history):
                run.log_metrics(metrics, epoch)
        store.client.set_terminated(run.run_id)
    elif logged.data.tags.get(CONTENT_SHA256) == content_sha256:
        return str(logged.info.run_id)
    else:
        run = Run(store, logged.info.run_id)
    store.client.log_batch(run.run_id, params=_params(card.parameters))
    for subset, values in record.metrics.items():
        run.log_metrics({f"{subset}/{name}": value for name, value in values.items()})
    store.client.log_artifacts(run.run_id, str(record.bundle.folder), "bundle")
    for folder, files in record.files.items():
        run.log_files(files, folder)
    tags = {NETWORK_SHA256: card.model_sha256, BUNDLE_SHA256: card.sha256, CONTENT_SHA256: content_sha256}
    for key, value in tags.items():
        store.client.set_tag(run.run_id, key, value)
    return run.run_id


@explain_refusals()
def find_run(store: Store, bundle: Bundle) -> str | None:
    """Return the id of the run that `record` has brought up to date for a bundle, or None.

    Raises:
        TrackingError: the store refuses.
    """
    run = _run_of(store, bundle)
    return str(run.info.run_id) if run else None


def _run_of(store: Store, bundle: Bundle) -> Any:
    """Return the newest run of a bundle, or of its weights if no bundle was logged there yet; else None."""
    trained = store.client.search_runs(
        [store.experiment_id],
        f"tags.{NETWORK_SHA256} = '{bundle.card.model_sha256}'",
        order_by=["attributes.start_time DESC"],
    )
    sha256 = bundle.card.sha256
    return next((run for run in trained if run.data.tags.get(BUNDLE_SHA256, sha256) == sha256), None)


def _sha256(files: Iterable[Path], text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for file in files:
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _create(store: Store, description: RunDescription, **tags: str) -> Run:
    given = description.tags() | tags
    if description.git_commit:
        given[MLFLOW_GIT_COMMIT] = description.git_commit
    # The context adds the tags that mlflow.start_run() sets: user, source file, source type.
    info = store.client.create_run(
        store.experiment_id, tags=run_context.resolve_tags(given), run_name=description.title
    ).info
    store.client.log_batch(info.run_id, params=_params(description.parameters))
    store.client.log_inputs(info.run_id, [_dataset(description.data)])
    return Run(store, info.run_id)


def _resume(store: Store, description: RunDescription, run_id: str | None) -> Run | None:
    if run_id is None or not _is_known(store, run_id):
        return None
    recorded = store.client.get_run(run_id).data.params
    if recorded != {param.key: param.value for param in _params(description.parameters)}:
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


def _params(parameters: Mapping[str, str | int | float | bool]) -> list[Param]:
    return [Param(key, str(value)) for key, value in parameters.items()]


def _dataset(data: DataLineage) -> DatasetInput:
    entity = Dataset(
        name=f"{data.source} {data.release}".strip(),
        digest=data.data_hash[:DIGEST_LENGTH],
        source_type="code",
        source=json.dumps({"tags": {"source": data.source, "release": data.release, "sha256": data.data_hash}}),
        profile=json.dumps(data.counts, sort_keys=True),
    )
    return DatasetInput(entity, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])


def _read_history(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            epoch = int(float(row.pop("epoch")))
            yield epoch, {name: float(value) for name, value in row.items() if value}
