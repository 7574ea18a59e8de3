import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pneumonia.bundle import bundle as bundles
from pneumonia.bundle.calibration import Calibration
from pneumonia.core.errors import TrackingError
from pneumonia.registry import tracking
from pneumonia.registry.tracking import RunDescription, RunRecord, Store
from tests.support import mlflow_store

DATA = bundles.DataLineage("kermany", "v2", "5e" * 32, {"train": {"NORMAL": 3, "PNEUMONIA": 9}})
CNN = RunDescription("cnn", "cnn", DATA, {"epochs": 2, "learning_rate": 0.001}, "c0ffee")

# Children that start as quickly as a fork, and as clean as a new interpreter.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pneumonia.registry.tracking", "mlflow.store.tracking.sqlalchemy_store"])

BUNDLE = {f"bundle/{name}" for name in ("bundle.json", "model.keras", "model.onnx", "reference.npz")}


@pytest.fixture(scope="module")
def store(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield tracking.open_store(mlflow_store.copy(migrated_store, tmp_path_factory.mktemp("a project") / "project"))


def make_bundle(folder: Path, weights: bytes = b"weights", threshold: float = 0.4) -> bundles.Bundle:
    """Write a bundle of ``weights``, which are only stored here and never used."""
    file = folder / "trained"
    file.write_bytes(weights)
    return bundles.write(
        folder / "bundle",
        file,
        file,
        file,
        name="cnn",
        kind="cnn",
        image_size=32,
        calibration=Calibration(),
        threshold=threshold,
        band=bundles.Band(threshold, threshold),
        validation={"roc_auc": 0.9},
        golden={},
        data=DATA,
        parameters=dict(CNN.parameters) | {"calibrate.seed": 1},
    )


def train(store: Store, bundle: bundles.Bundle) -> str:
    """Follow a training that ends with the weights of a bundle."""
    with tracking.start_run(store, CNN) as run:
        run.log_metrics({"loss": 0.7}, step=1)
        run.finish_training(bundle.card.model_sha256)
    return run.run_id


def history_of(store: Store, run_id: str, metric: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in store.client.get_metric_history(run_id, metric)]


def artifacts_of(store: Store, run_id: str, folder: str) -> set[str]:
    return {file.path for file in store.client.list_artifacts(run_id, folder)}


class TestRun:
    def test_has_parameters_metrics_tags_and_status(self, store: Store) -> None:
        with tracking.start_run(store, CNN) as run:
            run.log_metrics({"loss": 0.7}, step=0)
            run.log_metrics({"loss": 0.5}, step=1)

        logged = store.client.get_run(run.run_id)
        assert logged.info.status == "FINISHED"
        assert logged.info.run_name == "cnn"
        assert logged.data.params == {"epochs": "2", "learning_rate": "0.001"}
        assert history_of(store, run.run_id, "loss") == [(0, 0.7), (1, 0.5)]
        expected = {"kind": "cnn", "source": "kermany", "data_hash": "5e" * 32, "git_commit": "c0ffee"}
        assert expected.items() <= logged.data.tags.items()
        assert "phantom" not in logged.data.tags

    def test_names_its_dataset_by_content(self, store: Store) -> None:
        with tracking.start_run(store, CNN) as run:
            pass
        (given,) = store.client.get_run(run.run_id).inputs.dataset_inputs
        assert given.dataset.name == "kermany v2"
        assert DATA.data_hash.startswith(given.dataset.digest)
        assert json.loads(given.dataset.profile) == DATA.counts
        assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]

    def test_of_phantoms_is_marked(self, store: Store) -> None:
        with tracking.start_run(store, replace(CNN, data=replace(DATA, source="phantom"))) as run:
            pass
        logged = store.client.get_run(run.run_id)
        assert logged.data.tags["phantom"] == "true"
        assert logged.info.run_name == "cnn (phantom)"

    @pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
    def test_that_ends_early_has_that_status(self, store: Store, error: type[BaseException], status: str) -> None:
        with pytest.raises(error), tracking.start_run(store, CNN) as run:
            raise error
        assert store.client.get_run(run.run_id).info.status == status

    def test_resumes_after_a_kill(self, store: Store, tmp_path: Path) -> None:
        note = tmp_path / "run_id"
        child = PROCESSES.Process(target=train_until_killed, args=(store, note))
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        killed = note.read_text()
        assert store.client.get_run(killed).info.status == "RUNNING"

        with tracking.start_run(store, CNN, killed) as run:
            run.log_metrics({"loss": 0.5}, step=1)
        assert run.run_id == killed
        assert history_of(store, killed, "loss") == [(0, 0.7), (1, 0.5)]
        assert store.client.get_run(killed).info.status == "FINISHED"

    def test_is_new_when_the_store_does_not_have_it(self, store: Store) -> None:
        unknown = "0" * 32
        with tracking.start_run(store, CNN, unknown) as run:
            pass
        assert run.run_id != unknown

    def test_is_new_when_it_was_deleted(self, store: Store) -> None:
        with tracking.start_run(store, CNN) as deleted:
            pass
        store.client.delete_run(deleted.run_id)
        with tracking.start_run(store, CNN, deleted.run_id) as run:
            pass
        assert run.run_id != deleted.run_id

    def test_of_other_parameters_is_another_run(self, store: Store) -> None:
        with tracking.start_run(store, CNN) as first:
            pass
        with tracking.start_run(store, replace(CNN, parameters={"epochs": 5}), first.run_id) as second:
            pass
        assert second.run_id != first.run_id
        assert store.client.get_run(second.run_id).data.params == {"epochs": "5"}

    def test_logs_system_metrics(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
        with tracking.start_run(store, CNN) as run:
            deadline = time.monotonic() + 20
            while not any(m.startswith("system/") for m in store.client.get_run(run.run_id).data.metrics):
                assert time.monotonic() < deadline, "no system metrics"
                time.sleep(0.05)


def train_until_killed(store: Store, note: Path) -> None:
    with tracking.start_run(store, CNN) as run:
        run.log_metrics({"loss": 0.7}, step=0)
        note.write_text(run.run_id)
        os.kill(os.getpid(), signal.SIGKILL)


class TestRecord:
    def test_adopts_the_run_that_trained_the_weights(self, store: Store, tmp_path: Path) -> None:
        bundle = make_bundle(tmp_path, b"adopted")
        run_id = train(store, bundle)
        before = store.client.get_run(run_id).info
        table = tmp_path / "predictions.csv"
        table.write_text("path,probability\n")
        record = RunRecord(
            bundle, metrics={"validation": {"f1": 0.8}, "test": {"f1": 0.7}}, files={"evaluation": [table]}
        )

        assert tracking.record(store, record) == run_id

        after = store.client.get_run(run_id)
        assert (after.info.status, after.info.end_time) == (before.status, before.end_time)
        assert after.data.metrics.items() >= {"validation/f1": 0.8, "test/f1": 0.7, "loss": 0.7}.items()
        assert after.data.params["calibrate.seed"] == "1"
        assert after.data.tags["bundle_sha256"] == bundle.card.sha256
        assert artifacts_of(store, run_id, "evaluation") == {"evaluation/predictions.csv"}
        assert artifacts_of(store, run_id, "bundle") == BUNDLE

    def test_a_second_time_writes_nothing(self, store: Store, tmp_path: Path) -> None:
        record = RunRecord(make_bundle(tmp_path, b"twice"), metrics={"test": {"f1": 0.7}})
        run_id = tracking.record(store, record)
        assert tracking.record(store, record) == run_id
        assert history_of(store, run_id, "test/f1") == [(0, 0.7)]

    def test_new_metrics_of_the_same_bundle_go_into_the_same_run(self, store: Store, tmp_path: Path) -> None:
        bundle = make_bundle(tmp_path, b"new metrics")
        run_id = tracking.record(store, RunRecord(bundle, metrics={"test": {"f1": 0.7}}))
        assert tracking.record(store, RunRecord(bundle, metrics={"test": {"f1": 0.75}})) == run_id
        assert store.client.get_run(run_id).data.metrics["test/f1"] == 0.75

    def test_another_calibration_of_the_same_weights_is_another_run(self, store: Store, tmp_path: Path) -> None:
        first = tracking.record(store, RunRecord(make_bundle(tmp_path, b"calibrated twice")))
        second = tracking.record(store, RunRecord(make_bundle(tmp_path, b"calibrated twice", threshold=0.5)))
        assert second != first

    def test_creates_the_run_of_a_bundle_that_was_trained_elsewhere(self, store: Store, tmp_path: Path) -> None:
        bundle = make_bundle(tmp_path, b"from elsewhere")
        history = tmp_path / "history.csv"
        history.write_text("epoch,loss,val_loss\n0,0.7,0.8\n1,0.5,\n")
        run_id = tracking.record(store, RunRecord(bundle, history, files={"train": [history]}))

        logged = store.client.get_run(run_id)
        assert logged.info.status == "FINISHED"
        assert logged.data.tags["restored"] == "true"
        assert logged.data.params["epochs"] == "2"
        assert history_of(store, run_id, "loss") == [(0, 0.7), (1, 0.5)]
        assert history_of(store, run_id, "val_loss") == [(0, 0.8)]
        assert artifacts_of(store, run_id, "bundle") == BUNDLE
        assert artifacts_of(store, run_id, "train") == {"train/history.csv"}


class TestStore:
    def test_is_created_by_four_concurrent_trainings(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        database = tmp_path / "elsewhere" / "runs.db"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
        with PROCESSES.Pool(4, maxtasksperchild=1) as pool:
            run_ids = pool.map(train_fifty_epochs, [(tmp_path, os.environ["MLFLOW_TRACKING_URI"])] * 4, chunksize=1)

        store = tracking.open_store(tmp_path)
        assert len(set(run_ids)) == 4
        for run_id in run_ids:
            run = store.client.get_run(run_id)
            assert run.info.status == "FINISHED"
            assert run.info.experiment_id == store.experiment_id
            assert [step for step, _ in history_of(store, run_id, "loss")] == list(range(50))
            assert run.info.artifact_uri.startswith((database.parent / "artifacts").as_uri())
        assert not (tmp_path / "mlruns").exists(), "MLFLOW_TRACKING_URI decides"

    def test_of_an_unsupported_kind_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "files").as_uri())
        with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI"):
            tracking.open_store(tmp_path)

    def test_sends_no_telemetry(self) -> None:
        with PROCESSES.Pool(1) as pool:
            assert pool.apply(telemetry_is_off)


def train_fifty_epochs(place: tuple[Path, str]) -> str:
    root, uri = place
    os.environ["MLFLOW_TRACKING_URI"] = uri  # the fork server was started before it was set
    with tracking.start_run(tracking.open_store(root), CNN) as run:
        for epoch in range(50):
            run.log_metrics({"loss": 1 / (1 + epoch)}, step=epoch)
    return run.run_id


def telemetry_is_off() -> bool:
    from mlflow.telemetry import get_telemetry_client

    return get_telemetry_client() is None
