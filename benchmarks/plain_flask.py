"""Serve a Keras model with a minimal Flask app, for comparison: Pillow decodes, ``model.predict`` predicts.

    python benchmarks/plain_flask.py MODEL.keras PORT

Started by benchmarks/serving.py. ``POST /predict`` takes the multipart field ``file``.
"""

import sys
from typing import Any

import keras
import numpy as np
from flask import Flask, request
from PIL import Image

app = Flask(__name__)
model = keras.saving.load_model(sys.argv[1], compile=False)
size = model.input_shape[1]


@app.post("/predict")
def predict() -> dict[str, Any]:
    """Return the probability of PNEUMONIA for one image."""
    image = Image.open(request.files["file"].stream).convert("L").resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.float32)[None, ..., None]
    logit = float(model.predict(pixels, verbose=0)[0, 0])
    return {"probability": 1 / (1 + np.exp(-logit))}


if __name__ == "__main__":
    app.run(port=int(sys.argv[2]), threaded=True)
