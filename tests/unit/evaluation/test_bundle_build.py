"""The bundle of a network: fitted to the answers of its ONNX graph, which agree with Keras."""

from pathlib import Path

import keras
import numpy as np
import pytest

from pneumonia.bundle import bundle as bundles
from pneumonia.bundle import calibration_fit, golden, operating_point, reference
from pneumonia.bundle.export import export
from pneumonia.bundle.settings import BandParams, CalibrateParams, OperatingPointParams
from pneumonia.core.errors import BundleError
from pneumonia.evaluation import bundle_build
from pneumonia.evaluation.settings import BootstrapParams
from pneumonia.inference.runtime import Runtime
from pneumonia.training import network_file, predict
from tests.support import networks

SIZE = 32
CALIBRATE = CalibrateParams(
    seed=1,
    methods=["none", "temperature", "platt", "isotonic"],
    operating_point=OperatingPointParams(minimum_sensitivity=0.9, band=BandParams(sensitivity=0.99, specificity=0.99)),
)
BOOTSTRAP = BootstrapParams(resamples=100, seed=1)


def development_images() -> bundle_build.DevelopmentImages:
    rng = np.random.default_rng(0)
    targets = np.arange(80) % 2
    validation = rng.integers(0, 150, (80, SIZE, SIZE), dtype=np.uint8)
    validation += (targets * rng.integers(0, 100, 80))[:, None, None].astype(np.uint8)
    return bundle_build.DevelopmentImages(
        train=rng.integers(0, 256, (100, SIZE, SIZE), dtype=np.uint8),
        validation=validation,
        swapped=np.ascontiguousarray(validation[:, :, ::-1]),
        targets=targets,
        groups=np.arange(80) // 2 * 2 + targets,
    )


IMAGES = development_images()


def build(folder: Path, network: Path) -> tuple[bundles.Bundle, dict[str, float]]:
    return bundle_build.build(
        folder,
        network,
        IMAGES,
        name="small",
        kind="cnn",
        data=bundles.DataLineage("phantom", "7", "ab" * 32, {"train": {"NORMAL": 1}}),
        parameters={"seed": 1},
        calibrate=CALIBRATE,
        bootstrap=BOOTSTRAP,
    )


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return networks.small(SIZE, gain=30)


@pytest.fixture(scope="module")
def network(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "model.keras"
    network_file.save(model, path)
    return path


@pytest.fixture(scope="module")
def built(network: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bundles.Bundle, dict[str, float]]:
    return build(tmp_path_factory.mktemp("bundle") / "small", network)


def test_bundle_is_complete_and_holds_the_network(
    built: tuple[bundles.Bundle, dict[str, float]], network: Path
) -> None:
    bundle, _ = built

    assert bundles.read(bundle.folder) == bundle
    assert bundle.model_file.read_bytes() == network.read_bytes()
    Runtime.load(bundle.folder, threads=1)


def test_calibration_threshold_and_band_are_those_of_keras(
    built: tuple[bundles.Bundle, dict[str, float]], model: keras.Model
) -> None:
    bundle, losses = built
    logits = np.concatenate([predict.logits(model, each) for each in (IMAGES.validation, IMAGES.swapped)])
    targets, groups = np.tile(IMAGES.targets, 2), np.tile(IMAGES.groups, 2)

    calibration, expected = calibration_fit.choose(logits, targets, groups, CALIBRATE.methods, CALIBRATE.seed)
    probabilities = calibration.probabilities(logits)
    threshold = operating_point.choose(targets, probabilities, 0.9)
    band = operating_point.choose_band(targets, probabilities, threshold, CALIBRATE.operating_point.band)

    card = bundle.card
    assert losses == pytest.approx(expected, abs=1e-5)
    assert card.calibration.method == calibration.method
    np.testing.assert_allclose(card.calibration.probabilities(logits), probabilities, atol=1e-5)
    assert (card.threshold, card.band.low, card.band.high) == pytest.approx((threshold, band.low, band.high), abs=1e-5)
    pinned = golden.by_name(calibration.probabilities(predict.logits(model, golden.pixels(SIZE))))
    assert golden.largest_difference(pinned, card.golden) < 1e-5


def test_reference_is_that_of_the_validation_images(built: tuple[bundles.Bundle, dict[str, float]]) -> None:
    bundle, _ = built
    runtime = Runtime.load(bundle.folder, threads=1)

    fitted = reference.read(bundle)

    normal = runtime.evidence(IMAGES.validation[IMAGES.targets == 0][:64])
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=1e-4)
    assert fitted.bin_images.sum() == 160
    assert {"roc_auc", "sensitivity", "specificity"} <= bundle.card.validation.keys()


def test_same_network_and_images_give_the_same_bytes(
    built: tuple[bundles.Bundle, dict[str, float]], network: Path, tmp_path: Path
) -> None:
    again, _ = build(tmp_path / "again", network)

    for file in sorted(built[0].folder.iterdir()):
        assert (again.folder / file.name).read_bytes() == file.read_bytes(), file.name


def test_float16_network_is_fitted_with_its_rounded_weights(model: keras.Model, tmp_path: Path) -> None:
    network_file.save(model, tmp_path / "half.keras", float16=True)
    half = network_file.load(tmp_path / "half.keras")

    bundle, _ = build(tmp_path / "half", tmp_path / "half.keras")

    logits = Runtime.load(bundle.folder, threads=1).logits(IMAGES.validation)
    np.testing.assert_allclose(logits, predict.logits(half, IMAGES.validation), atol=1e-4)
    assert np.abs(logits - predict.logits(model, IMAGES.validation)).max() > 1e-4


def test_graph_that_does_not_agree_with_keras_is_refused(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_build.export, "export", lambda model, path: export(networks.small(SIZE, gain=90), path))

    with pytest.raises(BundleError, match="does not agree with the Keras network"):
        build(tmp_path / "bundle", network)

    assert not (tmp_path / "bundle").exists()
