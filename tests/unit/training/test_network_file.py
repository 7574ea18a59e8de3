import datetime
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import pipeline
from pneumonia.core.errors import WeightsError
from pneumonia.training import architectures, network_file
from pneumonia.training.settings import FinetuneParams
from tests.support import networks

SIZE = 32
PIXELS = np.random.default_rng(0).integers(0, 256, (50, SIZE, SIZE, 1), dtype=np.uint8)


def test_network_is_loaded_as_saved(tmp_path: Path) -> None:
    model = networks.small(SIZE)

    network_file.save(model, tmp_path / "model.keras")

    loaded = network_file.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(PIXELS, verbose=0), model.predict(PIXELS, verbose=0))
    assert [layer.name for layer in loaded.layers][-2:] == ["pool", "logit"]


def test_same_weights_give_the_same_bytes_at_another_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = network_file.save(networks.small(SIZE), tmp_path / "first.keras")
    networks.brightness(SIZE)  # moves the counters from which Keras names layers

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Later":
            return cls(2031, 5, 6, 7, 8, 9, tzinfo=tz)

    monkeypatch.setattr(datetime, "datetime", Later)
    monkeypatch.setattr("time.localtime", lambda seconds=None: datetime.datetime(2031, 5, 6).timetuple())
    second = network_file.save(networks.small(SIZE), tmp_path / "second.keras")

    assert (tmp_path / "first.keras").read_bytes() == (tmp_path / "second.keras").read_bytes()
    assert first == second


def test_other_weights_give_other_bytes(tmp_path: Path) -> None:
    first, second = networks.small(SIZE), networks.small(SIZE, gain=1.001)

    assert network_file.save(first, tmp_path / "a.keras") != network_file.save(second, tmp_path / "b.keras")


def test_saving_a_loaded_network_gives_the_same_bytes(tmp_path: Path) -> None:
    first = network_file.save(networks.small(SIZE), tmp_path / "first.keras")

    loaded = network_file.load(tmp_path / "first.keras")
    resized = architectures.at_size(loaded, SIZE)

    assert network_file.save(loaded, tmp_path / "second.keras") == first
    assert network_file.save(resized, tmp_path / "third.keras") == first


def backbone() -> keras.Model:
    params = FinetuneParams.model_validate(
        {"kind": "finetune", "backbone": "MobileNetV2", "backbone_options": {"alpha": 0.35}, "weights": "random"}
        | {"train_batch_norm": True, "epochs": 1, "batch_size": 2, "learning_rate": 0.1}
    )
    keras.utils.set_random_seed(0)
    return architectures.finetune(params, SIZE)


def test_another_process_writes_the_same_bytes_of_a_backbone(tmp_path: Path) -> None:
    networks.small(SIZE)
    first = network_file.save(backbone(), tmp_path / "first.keras")
    command = [sys.executable, __file__, str(tmp_path / "second.keras")]
    root = Path(pipeline.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'src'}", "PYTHONHASHSEED": "5", "TZ": "Asia/Tokyo"}
    subprocess.run(command, env=environment, check=True, capture_output=True)

    assert (tmp_path / "second.keras").read_bytes() == (tmp_path / "first.keras").read_bytes()
    assert len(first) == 64


def test_file_has_no_date_and_no_counters_of_the_process(tmp_path: Path) -> None:
    for _ in range(3):
        network_file.save(networks.small(SIZE), tmp_path / "model.keras")

    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert {part.date_time for part in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert json.loads(archive.read("metadata.json")) == {"keras_version": keras.__version__}
        config = archive.read("config.json").decode()
    assert "shared_object_id" not in config
    assert json.loads(config)["config"]["name"] == "functional"


def test_float16_halves_the_weights_and_keeps_the_answers(tmp_path: Path) -> None:
    model = networks.small(SIZE, filters=(32, 64))
    network_file.save(model, tmp_path / "full.keras")
    network_file.save(model, tmp_path / "half.keras", float16=True)

    half = network_file.load(tmp_path / "half.keras")

    assert (tmp_path / "half.keras").stat().st_size < 0.75 * (tmp_path / "full.keras").stat().st_size
    assert {weight.dtype for weight in half.weights} == {"float32"}
    for loaded, original in zip(half.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, original.astype(np.float16))
    np.testing.assert_allclose(half.predict(PIXELS, verbose=0), model.predict(PIXELS, verbose=0), atol=0.01)


def test_weight_out_of_range_of_float16_is_refused(tmp_path: Path) -> None:
    model = networks.small(SIZE)
    model.layers[-1].set_weights([np.full_like(weight, 1e6) for weight in model.layers[-1].get_weights()])

    with pytest.raises(WeightsError, match="does not fit into float16"):
        network_file.save(model, tmp_path / "model.keras", float16=True)

    assert not (tmp_path / "model.keras").exists()


if __name__ == "__main__":
    network_file.save(backbone(), Path(sys.argv[1]))
