"""The fast road gives the slow road's answers, in any thread, without TensorFlow."""

import dataclasses
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.config import CnnParams
from pneumonia.errors import BundleError
from pneumonia.images.decode import decode
from pneumonia.inference import golden, reference
from pneumonia.inference.explain import Explainer
from pneumonia.inference.predictor import Predictor
from pneumonia.inference.runtime import TOLERANCE, Runtime
from pneumonia.models import architectures
from pneumonia.models import bundle as bundles
from pneumonia.models.calibration import Calibration
from tests import bright

DATA = bundles.DataLineage("phantom", "", "0" * 64, {})
RELEASE = Path(__file__).parents[2] / "release"
SIZE = 64
PIXELS = np.random.default_rng(0).integers(0, 256, (70, SIZE, SIZE), dtype=np.uint8)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of graphs for this module alone."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> bundles.Bundle:
    """The bundle of a convolutional network with 4 x 4 places, whose logits differ from image to image."""
    folder = tmp_path_factory.mktemp("bundle")
    keras.utils.set_random_seed(0)
    params = CnnParams(kind="cnn", filters=[4, 8, 8], epochs=1, batch_size=4, learning_rate=0.1)
    model = architectures.cnn(params, SIZE)
    weights, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([20 * weights, bias])
    model.save(folder / "any.keras")
    kept = bright.reference(0.0)
    eight = {"pooled_mean": np.zeros(8, np.float32), "axes": np.eye(8, 1, dtype=np.float32)}
    known = dataclasses.replace(kept.familiarity, **eight)
    normal = np.full((SIZE, SIZE), 0.5, np.float32)
    compared = dataclasses.replace(kept, normal_evidence=normal, familiarity=known)
    reference.write(compared, folder / "any.npz")
    return bundles.write(
        folder / "bundle",
        folder / "any.keras",
        folder / "any.npz",
        name="cnn",
        kind="cnn",
        image_size=SIZE,
        calibration=Calibration("platt", 2.0, 0.5),
        threshold=0.5,
        band=bundles.Band(0.45, 0.55),
        validation={},
        golden=golden.pin(model, SIZE, Calibration("platt", 2.0, 0.5)),
        data=DATA,
        parameters={},
        git_commit=None,
        mlflow_run_id="0",
    )


@pytest.fixture(scope="module")
def runtime(bundle: bundles.Bundle) -> Runtime:
    return Runtime.load(bundle.folder)


@pytest.fixture(scope="module")
def predictor(bundle: bundles.Bundle) -> Predictor:
    return Predictor.load(bundle.folder)


@pytest.fixture(scope="module")
def released() -> tuple[Runtime, Predictor]:
    return Runtime.load(RELEASE), Predictor.load(RELEASE)


def probabilities(runtime: Runtime, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.array([reading.probability for reading in runtime.run(pixels)])


def test_answers_are_the_predictors(runtime: Runtime, predictor: Predictor) -> None:
    slow = predictor.probabilities(PIXELS)

    readings = runtime.run(PIXELS)

    np.testing.assert_allclose([each.probability for each in readings], slow, atol=TOLERANCE)
    assert slow.std() > 0.01
    given = [predictor.answer(each.probability) for each in readings]
    assert [(each.label, each.indeterminate) for each in readings] == [(g.label, g.indeterminate) for g in given]


def test_maps_are_the_explainers_against_normal_images(runtime: Runtime, predictor: Predictor) -> None:
    slow = Explainer(predictor.model).evidence(PIXELS[:1])[0] - 0.5

    np.testing.assert_allclose(runtime.evidence(PIXELS[0]), slow, atol=1e-3)
    assert slow.std() > 0.01


def test_any_number_of_threads_may_ask(runtime: Runtime) -> None:
    alone = probabilities(runtime, PIXELS)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda row: probabilities(runtime, PIXELS[row : row + 3]), range(60)))

    for row, each in enumerate(together):
        np.testing.assert_allclose(each, alone[row : row + 3], atol=1e-5)


def test_no_images_give_no_readings(runtime: Runtime) -> None:
    assert runtime.run(PIXELS[:0]) == []


def test_who_serves_has_no_tensorflow(runtime: Runtime) -> None:
    """In a process of its own, that answers, explains and knows what it has loaded."""
    script = (
        "import sys, json, numpy as np; from pathlib import Path; from pneumonia.inference.runtime import Runtime\n"
        f"runtime = Runtime.load(Path({str(runtime.bundle.folder)!r}))\n"
        f"pixels = np.zeros((1, {SIZE}, {SIZE}), np.uint8)\n"
        "runtime.run(pixels); runtime.evidence(pixels[0]); runtime.share_of_pneumonia(0.5)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))

    assert "onnxruntime" in loaded
    assert not loaded & {"tensorflow", "keras", "mlflow", "sklearn", "pandas", "matplotlib", "torch"}


def test_a_graph_is_made_once(runtime: Runtime, cache: Path) -> None:
    (graph,) = cache.glob(f"pneumonia/graphs/{runtime.bundle.card.model_sha256}*.onnx")
    before = graph.stat().st_mtime_ns

    Runtime.load(runtime.bundle.folder)

    assert graph.stat().st_mtime_ns == before


def test_a_damaged_graph_is_made_again(runtime: Runtime, cache: Path) -> None:
    (graph,) = cache.glob(f"pneumonia/graphs/{runtime.bundle.card.model_sha256}*.onnx")
    graph.write_bytes(b"damaged")

    again = Runtime.load(runtime.bundle.folder)

    np.testing.assert_array_equal(probabilities(again, PIXELS[:3]), probabilities(runtime, PIXELS[:3]))


def test_answers_other_than_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    other = bright.write_bundle(
        tmp_path / "other", slope=0.01, data=DATA, golden=dict.fromkeys(golden.images(), 0.123)
    )

    with pytest.raises(BundleError, match=r"answers the golden images otherwise"):
        Runtime.load(other.folder)


def test_a_model_that_cannot_be_exported_is_refused_in_words(tmp_path: Path) -> None:
    broken = bright.write_bundle(tmp_path / "broken", slope=0.01, data=DATA)
    bad = tmp_path / "bad.keras"
    bad.write_bytes(b"no model")
    told = {field: getattr(broken.card, field) for field in vars(broken.card) if not field.endswith("sha256")}
    written = bundles.write(tmp_path / "written", bad, broken.reference_file, **told)

    with pytest.raises(BundleError, match=r"cannot be made into an ONNX graph"):
        Runtime.load(written.folder)


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        Runtime.load(tmp_path)


def test_what_is_unfamiliar_is_refused(tmp_path: Path) -> None:
    folder = bright.write_bundle(tmp_path / "strict", slope=0.01, minimum_familiarity=1.1, data=DATA).folder
    strict = Runtime.load(folder)
    square = np.full((1, bright.SIZE, bright.SIZE), 90, np.uint8)

    (reading,) = strict.run(square)

    assert reading.refusal is not None
    assert reading.refusal.code in ("unfamiliar", "not_a_radiograph")
    assert not reading.warnings


def test_the_release_refuses_what_is_turned_or_noise(released: tuple[Runtime, Predictor]) -> None:
    size = released[0].bundle.card.image_size
    noise = np.random.default_rng(0).integers(0, 256, (8, size, size), dtype=np.uint8)

    assert all(reading.refusal for reading in released[0].run(noise))


@pytest.mark.real
def test_the_release_answers_as_keras_does_on_real_originals_and_accepts_them(
    mirror: Path, released: tuple[Runtime, Predictor]
) -> None:
    """Full-size files, which went another way than the 224-pixel copies that the model has learnt from."""
    fast, slow = released
    files = sorted((mirror / "originals").rglob("*.jpeg"))
    pixels = np.stack([decode(file.read_bytes(), fast.bundle.card.image_size) for file in files])

    readings = fast.run(pixels)

    assert len(files) >= 40
    np.testing.assert_allclose([each.probability for each in readings], slow.probabilities(pixels), atol=TOLERANCE)
    assert sum(each.refusal is not None for each in readings) <= 2
    np.testing.assert_allclose(
        fast.evidence(pixels[0]) + fast.reference.normal_evidence,
        Explainer(slow.model).evidence(pixels[:1])[0],
        atol=1e-2,
    )


@pytest.mark.real
def test_the_release_refuses_turned_and_inverted_radiographs(
    mirror: Path, released: tuple[Runtime, Predictor]
) -> None:
    fast = released[0]
    with zipfile.ZipFile(mirror / "kermany-224.zip") as archive:
        names = sorted(name for name in archive.namelist() if "/test/" in name and name.endswith(".jpeg"))[::20]
        pixels = np.stack([decode(archive.read(name), fast.bundle.card.image_size) for name in names])

    def refused(images: NDArray[np.uint8]) -> float:
        return float(np.mean([reading.refusal is not None for reading in fast.run(images)]))

    assert refused(pixels) < 0.1
    for altered in (255 - pixels, *(np.rot90(pixels, turns, axes=(1, 2)) for turns in (1, 2, 3))):
        assert refused(np.ascontiguousarray(altered)) > 0.9


def test_nothing_is_collected_for_the_makers_of_the_runtime(bundle: bundles.Bundle, tmp_path: Path) -> None:
    """ONNX Runtime keeps an identifier of the machine, and what it is going to send, in the user's cache."""
    code = "import sys; from pathlib import Path; from pneumonia.inference.runtime import Runtime; "
    code += "Runtime.load(Path(sys.argv[1]))"
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    command = [sys.executable, "-c", code, str(bundle.folder)]
    subprocess.run(command, env=inherited | {"HOME": str(tmp_path)}, check=True)
    assert not list(tmp_path.rglob("*Microsoft*"))
