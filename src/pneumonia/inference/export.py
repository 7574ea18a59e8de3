"""A Keras model as an ONNX graph for `inference.runtime`, made in a process of its own:

    python -m pneumonia.inference.export MODEL.keras GRAPH.onnx

TensorFlow takes 700 MB and seconds to load; who serves should not have it in its process.
"""

import sys

import keras


def export(model_file: str, graph_file: str) -> None:
    """Write the graph.

    It takes ``pixels`` (N, size, size, 1), float32 of 0..255, and answers in this order: logits (N, 1); the evidence
    of each cell of the last feature map (N, cells, cells, 1), whose mean is the logit (`inference.explain`); and the
    pooled features (N, channels).
    """
    model = keras.saving.load_model(model_file, compile=False)
    pool, logit = model.get_layer("pool"), model.get_layer("logit")
    graph = keras.Model(model.input, [logit.output, logit(pool.input), pool.output])
    pixels = keras.InputSpec(shape=model.input.shape, dtype="float32", name="pixels")
    graph.export(graph_file, format="onnx", input_signature=[pixels], verbose=False)


if __name__ == "__main__":
    export(*sys.argv[1:])
