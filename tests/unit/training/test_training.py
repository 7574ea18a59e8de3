from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from pneumonia.training import architectures, predict, training
from pneumonia.training.fit import LabelledImages
from pneumonia.training.settings import CnnParams, ProbeParams
from tests.unit.training.test_probe import PARAMS, small_extractor, toy

CNN = CnnParams(kind="cnn", filters=[4], epochs=2, batch_size=8, learning_rate=0.01)


def labelled(count: int, seed: int) -> LabelledImages:
    return LabelledImages(*toy(count, seed))


def run(params: CnnParams | ProbeParams, tmp_path: Path) -> tuple[list[tuple[int, dict[str, float]]], object, object]:
    epochs: list[tuple[int, dict[str, float]]] = []
    model, history = training.train(
        params,
        labelled(60, 0),
        labelled(30, 1),
        seed=4,
        checkpoint=tmp_path / "state",
        on_epoch=lambda epoch, metrics: epochs.append((epoch, dict(metrics))),
    )
    return epochs, model, history


def test_probe_has_a_history_of_one_epoch_with_the_metrics_of_scikit_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(architectures, "feature_extractor", small_extractor)

    epochs, model, history = run(PARAMS, tmp_path)

    ((epoch, metrics),) = epochs
    assert history.to_dict("records") == [{"epoch": epoch} | metrics]
    assert list(history.columns) == ["epoch", "loss", "accuracy", "auc", "val_loss", "val_accuracy", "val_auc"]
    validation = labelled(30, 1)
    logits = predict.logits(model, validation.images)
    assert metrics["val_auc"] == sk.roc_auc_score(validation.targets, logits)
    assert metrics["val_accuracy"] == np.mean((logits >= 0) == (validation.targets == 1))
    assert metrics["val_loss"] == pytest.approx(np.mean(np.logaddexp(0, logits) - validation.targets * logits))
    assert not (tmp_path / "state").exists()


def test_network_is_trained_epoch_by_epoch(tmp_path: Path) -> None:
    epochs, _, history = run(CNN, tmp_path)

    assert [epoch for epoch, _ in epochs] == list(history["epoch"]) == [1, 2]
    assert (tmp_path / "state").is_dir()
