"""Log a bundle as an MLflow model of its run, and check that the logged model answers."""

import io
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

import pneumonia
from pneumonia.bundle.bundle import Bundle
from pneumonia.core.errors import TrackingError
from pneumonia.data import phantom
from pneumonia.registry.tracking import Store

# MLflow and the served model are imported where they are used: after `tracking`, which keeps MLflow quiet.

_REQUIREMENTS = (
    "mlflow",
    "numpy",
    "onnxruntime",
    "pandas",
    "pillow",
    "pydantic",
    "pydicom",
    "python-gdcm",
    "pyyaml",
    "scipy",
)
"""Packages that the served model imports. Named here, because MLflow takes ten seconds to infer them."""


def log(store: Store, bundle: Bundle, run_id: str) -> str:
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
            _check_answer(folder)
            store.client.log_model_artifacts(logged.model_id, str(folder))
        except Exception:
            store.client.finalize_logged_model(logged.model_id, "FAILED")
            raise
    store.client.finalize_logged_model(logged.model_id, "READY")
    store.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return str(logged.model_id)


def _save_model(folder: Path, bundle: Bundle, model: Any) -> None:
    import mlflow.pyfunc

    from pneumonia.registry import pyfunc

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


def _check_answer(folder: Path) -> None:
    import mlflow.pyfunc

    answer = mlflow.pyfunc.load_model(str(folder)).predict(_example())
    probability = answer["probability"].item()
    if not 0 <= probability <= 1:
        raise TrackingError(
            f"the logged model gives an example the probability {probability}, expected 0 to 1. It is not registered. "
            "Run `dvc repro -f calibrate` and register again."
        )


def _example() -> pd.DataFrame:
    """Return an input example: a small phantom as PNG bytes, in the column that the model expects."""
    drawn = phantom.draw(np.random.default_rng(0), "bacteria", size=96, difficulty=0)
    file = io.BytesIO()
    Image.fromarray(drawn.pixels).save(file, "PNG")
    return pd.DataFrame({"image": [file.getvalue()]})
