"""The model as MLflow serves it: image bytes in, probability and label out, answered by ONNX Runtime.

MLflow copies this file into every logged model and runs it when the model is loaded ("models from code").
"""

import base64
import binascii
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, Schema

from pneumonia.core.errors import ImageError
from pneumonia.inference.runtime import Runtime

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, "image")]),
    outputs=Schema(
        [
            ColSpec(DataType.double, "probability"),
            ColSpec(DataType.string, "label"),
            ColSpec(DataType.double, "threshold"),
            ColSpec(DataType.boolean, "indeterminate"),
        ]
    ),
)


class PneumoniaModel(PythonModel):
    """Predicts for a table of encoded radiographs."""

    _runtime: Runtime

    def load_context(self, context: PythonModelContext) -> None:  # MLflow requires the name `context`
        """Open the bundle that was logged with the model."""
        self._runtime = Runtime.load(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return the answer for each row.

        Args:
            context: unused; MLflow passes it.
            model_input: column ``image`` holds JPEG, PNG or DICOM bytes, or these as base64 text.
            params: unused; MLflow passes it.

        Returns:
            Columns ``probability`` (of PNEUMONIA, calibrated, 0 to 1), ``label`` at the operating point, that
            ``threshold``, and ``indeterminate``.

        Raises:
            ImageError: an image cannot be decoded.
        """
        answers = self._runtime.predict([_image_bytes(image) for image in model_input["image"]])
        return pd.DataFrame(
            {
                "probability": [answer.probability for answer in answers],
                "label": [answer.label for answer in answers],
                "threshold": self._runtime.bundle.card.threshold,
                "indeterminate": [answer.indeterminate for answer in answers],
            }
        )


def _image_bytes(image: bytes | str) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return base64.b64decode(image, validate=True)
    except binascii.Error as error:
        raise ImageError(
            f"expected image bytes or base64 text, but the text is not base64 ({error}). Encode the file as base64."
        ) from None


mlflow.models.set_model(PneumoniaModel())
