import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pneumonia import cli
from pneumonia.models import bundle as bundles
from pneumonia.models.calibration import Calibration


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that calls bright images PNEUMONIA: the logit is the mean grey level over 10, less 10."""
    folder = tmp_path_factory.mktemp("bundle")
    inputs = keras.Input((32, 32, 1))
    head = keras.layers.Dense(1)
    model = keras.Model(inputs, head(keras.layers.GlobalAveragePooling2D()(inputs)))
    head.set_weights([np.array([[0.1]]), np.array([-10.0])])
    model.save(folder / "made.keras")
    bundles.write(
        folder / "bright",
        folder / "made.keras",
        name="bright",
        kind="cnn",
        image_size=32,
        calibration=Calibration(),
        threshold=0.5,
        band=bundles.Band(0.5, 0.5),
        validation={},
        data=bundles.DataLineage("phantom", "", "0" * 64, {}),
        parameters={},
        git_commit=None,
        mlflow_run_id="none",
    )
    return folder / "bright"


def picture(path: Path, grey: int) -> str:
    Image.new("L", (64, 48), grey).save(path)
    return str(path)


def test_answers_for_each_image_and_says_which_model(bundle: Path, tmp_path: Path) -> None:
    images = [picture(tmp_path / "dark.png", 50), picture(tmp_path / "bright.png", 150)]
    result = CliRunner().invoke(cli.main, ["predict", "--bundle", str(bundle), *images])
    model, dark, bright = result.output.splitlines()
    assert model == "model bright, trained on phantom, threshold 0.5000"
    assert dark.split() == ["NORMAL", "0.0067", images[0]]
    assert bright.split() == ["PNEUMONIA", "0.9933", images[1]]
    assert result.exit_code == 0


def test_an_unreadable_image_is_named_and_does_not_spoil_the_others(bundle: Path, tmp_path: Path) -> None:
    text = tmp_path / "letter.jpeg"
    text.write_text("Dear colleague")
    images = [str(text), picture(tmp_path / "bright.png", 150)]
    result = CliRunner().invoke(cli.main, ["predict", "--bundle", str(bundle), *images])
    assert f"UNREADABLE  {text}: expected a JPEG, PNG or DICOM image" in result.stderr
    assert "PNEUMONIA" in result.stdout
    assert result.exit_code == 1


def test_a_folder_that_is_no_bundle_is_refused_without_a_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.main, ["predict", "--bundle", str(tmp_path), picture(tmp_path / "a.png", 9)])
    assert result.exit_code == 1
    assert "Error:" in result.output
    assert "is not a bundle" in result.output


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from pneumonia import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'pandas', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "predict" in done.stdout
