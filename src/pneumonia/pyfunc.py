"""The model as MLflow serves it: image bytes in, probability and label out, by the predictor of a bundle.

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

from pneumonia.errors import ImageError
from pneumonia.inference.predictor import Predictor

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
    """Answers a table of encoded radiographs."""

    _predictor: Predictor

    def load_context(self, context: PythonModelContext) -> None:  # MLflow insists on the name `context`
        """Open the bundle that was logged with the model."""
        self._predictor = Predictor.load(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer each row.

        Args:
            context: unused; MLflow passes it.
            model_input: column ``image`` holds JPEG, PNG or DICOM bytes, or these as base64 text.
            params: unused; MLflow passes it.

        Returns:
            Per row the calibrated ``probability`` of PNEUMONIA (0 to 1), ``label`` at the operating point, that
            ``threshold``, and whether the answer is ``indeterminate``.

        Raises:
            ImageError: an image cannot be decoded.
        """
        answers = self._predictor.predict([_image_bytes(image) for image in model_input["image"]])
        return pd.DataFrame(
            {
                "probability": [answer.probability for answer in answers],
                "label": [answer.label for answer in answers],
                "threshold": self._predictor.bundle.card.threshold,
                "indeterminate": [answer.indeterminate for answer in answers],
            }
        )


def _image_bytes(image: bytes | str) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return base64.b64decode(image, validate=True)
    except binascii.Error as error:
        raise ImageError(f"expected image bytes or base64 text, but the text is not base64 ({error}).") from None


mlflow.models.set_model(PneumoniaModel())
