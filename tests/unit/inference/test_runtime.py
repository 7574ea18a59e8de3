"""ONNX Runtime gives the answers of Keras, from any thread, without TensorFlow."""

import dataclasses
import io
import json
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pneumonia.bundle import bundle as bundles
from pneumonia.bundle import golden, reference
from pneumonia.bundle.calibration import Calibration
from pneumonia.bundle.export import export
from pneumonia.core.errors import BundleError, ImageError
from pneumonia.images.decode import decode
from pneumonia.inference.runtime import TOLERANCE, Answer, Runtime
from pneumonia.training import network_file, predict
from tests.support import bright, networks

DATA = bundles.DataLineage("phantom", "", "0" * 64, {})
RELEASE = Path(__file__).parents[3] / "release"
SIZE = 64
PIXELS = np.random.default_rng(0).integers(0, 256, (70, SIZE, SIZE), dtype=np.uint8)
PLATT = Calibration("platt", 2.0, 0.5)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return networks.small(SIZE, filters=(4, 8, 8), gain=20)


@pytest.fixture(scope="module")
def bundle(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> bundles.Bundle:
    """The bundle of a convolutional network with 8 x 8 cells, whose logits differ from image to image."""
    return write_bundle(tmp_path_factory.mktemp("bundle"), model)


def write_bundle(folder: Path, model: keras.Model, **card: object) -> bundles.Bundle:
    network_file.save(model, folder / "any.keras")
    export(model, folder / "any.onnx")
    template = bright.reference(0.0)
    axes = {"pooled_mean": np.zeros(8, np.float32), "axes": np.eye(8, 1, dtype=np.float32)}
    normal = np.full((SIZE, SIZE), 0.5, np.float32)
    familiarity = dataclasses.replace(template.familiarity, **axes)
    reference.write(dataclasses.replace(template, normal_evidence=normal, familiarity=familiarity), folder / "any.npz")
    fields = {
        "name": "cnn",
        "kind": "cnn",
        "image_size": SIZE,
        "calibration": PLATT,
        "threshold": 0.5,
        "band": bundles.Band(0.45, 0.55),
        "validation": {},
        "data": DATA,
        "parameters": {},
    } | card
    logits = predict.logits(model, golden.pixels(SIZE))
    fields["golden"] = golden.by_name(fields["calibration"].probabilities(logits))
    return bundles.write(folder / "bundle", folder / "any.keras", folder / "any.onnx", folder / "any.npz", **fields)


@pytest.fixture(scope="module")
def runtime(bundle: bundles.Bundle) -> Runtime:
    return Runtime.load(bundle.folder)


@pytest.fixture(scope="module")
def released() -> Runtime:
    return Runtime.load(RELEASE)


def encoded(seed: int, form: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 60 + 40 * seed, (50, 70), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=form)
    return file.getvalue()


IMAGES = [encoded(seed, form) for seed, form in enumerate(["PNG", "JPEG", "PNG", "JPEG", "PNG"])]


def probabilities(runtime: Runtime, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.array([reading.probability for reading in runtime.run(pixels)])


def test_answers_are_those_of_keras(runtime: Runtime, model: keras.Model) -> None:
    logits = predict.logits(model, PIXELS)
    expected = PLATT.probabilities(logits)

    readings = runtime.run(PIXELS)

    assert runtime.logits(PIXELS).dtype == np.float64
    np.testing.assert_allclose(runtime.logits(PIXELS), logits, atol=1e-5)
    np.testing.assert_allclose([each.probability for each in readings], expected, atol=1e-5)
    np.testing.assert_array_equal(runtime.probabilities(PIXELS), [each.probability for each in readings])
    assert expected.std() > 0.01
    answers = [runtime.answer(each.probability) for each in readings]
    assert [(each.label, each.indeterminate) for each in readings] == [(a.label, a.indeterminate) for a in answers]


def test_evidence_is_relative_to_normal_images_for_one_image_and_several(runtime: Runtime, model: keras.Model) -> None:
    expected = networks.in_onnx(model).evidence(PIXELS[:2]) - 0.5

    np.testing.assert_allclose(runtime.evidence(PIXELS[:2]), expected, atol=1e-5)
    np.testing.assert_allclose(runtime.evidence(PIXELS[0]), expected[0], atol=1e-5)
    assert expected.std() > 0.01


def test_bytes_and_pixels_have_the_same_probability_in_order(runtime: Runtime) -> None:
    answers = [answer.probability for answer in runtime.predict(IMAGES)]

    assert len(set(answers)) == len(IMAGES)
    np.testing.assert_array_equal(answers, runtime.probabilities(np.stack([decode(each, SIZE) for each in IMAGES])))


def test_answer_does_not_depend_on_the_batch(runtime: Runtime) -> None:
    together = runtime.probabilities(PIXELS)

    np.testing.assert_allclose(runtime.probabilities(PIXELS, batch_size=3), together, rtol=1e-5)
    np.testing.assert_allclose(runtime.probabilities(PIXELS[3:4]), together[3], rtol=1e-5)


def test_answers_are_plain_values(runtime: Runtime) -> None:
    (answer,) = runtime.predict(IMAGES[:1])

    assert type(answer.probability) is float
    assert 0 < answer.probability < 1
    assert answer.label in ("NORMAL", "PNEUMONIA")


def test_label_changes_at_the_operating_point(tmp_path: Path) -> None:
    runtime = Runtime.load(bright.write_bundle(tmp_path / "bright", slope=0.01, data=DATA).folder)
    below = float(np.nextafter(0.5, 0))

    assert runtime.answer(0.5) == Answer(0.5, "PNEUMONIA", indeterminate=False)
    assert runtime.answer(below) == Answer(below, "NORMAL", indeterminate=False)


def test_operating_point_and_band_are_those_of_the_bundle(
    runtime: Runtime, model: keras.Model, tmp_path: Path
) -> None:
    probabilities = np.sort([answer.probability for answer in runtime.predict(IMAGES)])
    low, threshold, high = probabilities[1:4] - 1e-6  # just below: batches may differ in the last digits
    bundle = write_bundle(tmp_path, model, threshold=threshold, band=bundles.Band(low, high))

    answers = sorted(Runtime.load(bundle.folder).predict(IMAGES), key=lambda answer: answer.probability)

    assert [answer.label for answer in answers] == ["NORMAL"] * 2 + ["PNEUMONIA"] * 3
    assert [answer.indeterminate for answer in answers] == [False, True, True, False, False]


def test_very_certain_answers_keep_their_order() -> None:
    probabilities = Calibration().probabilities(np.array([-2000, -40, -30, 0, 20, 25, 2000], np.float32))

    assert (np.diff(probabilities) > 0).all()
    assert (probabilities[0], probabilities[3], probabilities[-1]) == (0, 0.5, 1)


@pytest.mark.parametrize("content", [b"", b"no image", IMAGES[1][:300]], ids=["empty", "text", "truncated"])
def test_broken_image_is_refused(runtime: Runtime, content: bytes) -> None:
    with pytest.raises(ImageError):
        runtime.predict([IMAGES[0], content])


def test_threads_may_share_a_runtime(runtime: Runtime) -> None:
    alone = probabilities(runtime, PIXELS)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda row: probabilities(runtime, PIXELS[row : row + 3]), range(60)))

    for row, each in enumerate(together):
        np.testing.assert_allclose(each, alone[row : row + 3], atol=1e-5)


def test_no_images_give_no_readings(runtime: Runtime) -> None:
    assert runtime.run(PIXELS[:0]) == []
    assert runtime.predict([]) == []
    assert runtime.logits(PIXELS[:0]).shape == (0,)


def test_serving_does_not_import_tensorflow(runtime: Runtime) -> None:
    """A process of its own answers, explains, and lists its modules."""
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


def test_answers_other_than_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    other = bright.write_bundle(
        tmp_path / "other", slope=0.01, data=DATA, golden=dict.fromkeys(golden.images(), 0.123)
    )

    with pytest.raises(BundleError, match="does not give the pinned probabilities"):
        Runtime.load(other.folder)


def test_graph_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    bundle = bright.write_bundle(tmp_path / "bright", slope=0.01, data=DATA)
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    card = {name: value for name, value in bundle.card if not name.endswith("sha256")}
    broken = bundles.write(
        tmp_path / "broken", bundle.model_file, tmp_path / "bad.onnx", bundle.reference_file, **card
    )

    with pytest.raises(BundleError, match="cannot be opened by ONNX Runtime"):
        Runtime.load(broken.folder)


def test_loading_writes_nothing_and_does_not_open_the_keras_file(tmp_path: Path) -> None:
    bundle = bright.write_bundle(tmp_path / "bright", slope=0.01, data=DATA)
    before = {file.name: file.stat().st_mtime_ns for file in bundle.folder.iterdir()}

    Runtime.load(bundle.folder)

    assert {file.name: file.stat().st_mtime_ns for file in bundle.folder.iterdir()} == before
    assert not bundle.model_file.read_bytes().startswith(b"PK")


def test_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        Runtime.load(tmp_path)


def test_unfamiliar_image_is_refused(tmp_path: Path) -> None:
    folder = bright.write_bundle(tmp_path / "strict", slope=0.01, minimum_familiarity=1.1, data=DATA).folder
    strict = Runtime.load(folder)
    square = np.full((1, bright.SIZE, bright.SIZE), 90, np.uint8)

    (reading,) = strict.run(square)

    assert reading.refusal is not None
    assert reading.refusal.code in ("unfamiliar", "not_a_radiograph")
    assert not reading.warnings


def test_release_refuses_noise(released: Runtime) -> None:
    size = released.bundle.card.image_size
    noise = np.random.default_rng(0).integers(0, 256, (8, size, size), dtype=np.uint8)

    assert all(reading.refusal for reading in released.run(noise))


@pytest.mark.real
def test_release_agrees_with_keras_on_real_originals_and_accepts_them(mirror: Path, released: Runtime) -> None:
    """Full-size files, which were resized differently from the 224-pixel copies that the model was trained on."""
    slow = network_file.load(released.bundle.model_file)
    fast = released
    files = sorted((mirror / "originals").rglob("*.jpeg"))
    pixels = np.stack([decode(file.read_bytes(), fast.bundle.card.image_size) for file in files])

    readings = fast.run(pixels)

    assert len(files) >= 40
    np.testing.assert_allclose(
        [each.probability for each in readings],
        fast.bundle.card.calibration.probabilities(predict.logits(slow, pixels)),
        atol=TOLERANCE,
    )
    assert sum(each.refusal is not None for each in readings) <= 2


@pytest.mark.real
def test_release_refuses_rotated_and_inverted_radiographs(mirror: Path, released: Runtime) -> None:
    fast = released
    with zipfile.ZipFile(mirror / "kermany-224.zip") as archive:
        names = sorted(name for name in archive.namelist() if "/test/" in name and name.endswith(".jpeg"))[::20]
        pixels = np.stack([decode(archive.read(name), fast.bundle.card.image_size) for name in names])

    def refused(images: NDArray[np.uint8]) -> float:
        return float(np.mean([reading.refusal is not None for reading in fast.run(images)]))

    assert refused(pixels) < 0.1
    for altered in (255 - pixels, *(np.rot90(pixels, turns, axes=(1, 2)) for turns in (1, 2, 3))):
        assert refused(np.ascontiguousarray(altered)) > 0.9


def test_onnx_runtime_collects_no_telemetry(bundle: bundles.Bundle, tmp_path: Path) -> None:
    """With telemetry on, it writes an identifier of the machine and queued events to the user's cache."""
    code = "import sys; from pathlib import Path; from pneumonia.inference.runtime import Runtime; "
    code += "Runtime.load(Path(sys.argv[1]))"
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    command = [sys.executable, "-c", code, str(bundle.folder)]
    subprocess.run(command, env=inherited | {"HOME": str(tmp_path)}, check=True)
    assert not list(tmp_path.rglob("*Microsoft*"))
