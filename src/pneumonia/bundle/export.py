"""Export a Keras network as an ONNX graph; the same network gives the same bytes."""

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pneumonia.core import files
from pneumonia.core.errors import ModelError

OUTPUTS = ("logit", "evidence", "features")


def export(model: Any, path: Path) -> None:
    """Write the ONNX graph of a network; the file is replaced atomically.

    The graph takes ``pixels`` (N, size, size, 1), float32 of 0 to 255, and has three outputs: ``logit`` (N, 1);
    ``evidence`` (N, cells, cells, 1), the class activation map of the last feature map, whose mean is the logit; and
    ``features`` (N, channels), the pooled features.

    Args:
        model: a Keras network that ends in the layers ``pool`` and ``logit`` (`training.architectures`).
        path: of the file to write.

    Raises:
        ModelError: the network does not end in these layers.
    """
    import keras
    import onnx

    names = [layer.name for layer in model.layers]
    if names[-2:] != ["pool", "logit"]:
        raise ModelError(
            f"expected a network that ends in the layers pool and logit, but it ends in {', '.join(names[-2:])}. "
            "Build it with pneumonia.training.architectures."
        )
    pool, logit = model.get_layer("pool"), model.get_layer("logit")
    graph = keras.Model(model.input, [logit.output, logit(pool.input), pool.output])
    pixels = keras.InputSpec(shape=model.input.shape, dtype="float32", name="pixels")
    with tempfile.TemporaryDirectory() as scratch:
        original = Path(scratch, "graph.onnx")
        with warnings.catch_warnings(action="ignore"):  # deprecations inside tf2onnx
            graph.export(original, format="onnx", input_signature=[pixels], verbose=False)
        exported = onnx.load(original)
    shapes = [("N", *output.shape[1:]) for output in [model.input, *graph.outputs]]
    canonical = _canonical(exported, shapes)
    onnx.checker.check_model(canonical)
    files.write_bytes(path, canonical.SerializeToString(deterministic=True))


def _canonical(exported: Any, shapes: list[tuple[str | int, ...]]) -> Any:
    """Rebuild a graph from its outputs: nodes in the order of their use, and names counted in that order.

    tf2onnx takes names from TensorFlow, which counts the layers that a process has made, and orders some nodes by the
    hashes of their names.
    """
    from onnx import TensorProto, helper

    graph = exported.graph
    producers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = {"": "", graph.input[0].name: "pixels"}
    nodes: list[Any] = []
    initializers: list[Any] = []
    for node in _in_order([output.name for output in graph.output], producers):
        for name in node.input:
            if name in constants and name not in names:
                names[name] = f"weight_{len(initializers)}"
                tensor = type(constants[name])()
                tensor.CopyFrom(constants[name])
                tensor.name = names[name]
                tensor.ClearField("doc_string")
                initializers.append(tensor)
        for name in node.output:
            names.setdefault(name, f"tensor_{len(names)}")
        copied = type(node)()
        copied.op_type, copied.domain = node.op_type, node.domain
        copied.name = f"{node.op_type}_{len(nodes)}"
        copied.input.extend(names[name] for name in node.input)
        copied.output.extend(names[name] for name in node.output)
        copied.attribute.extend(sorted(node.attribute, key=lambda attribute: attribute.name))
        nodes.append(copied)
    for output, name in zip(graph.output, OUTPUTS, strict=True):
        nodes.append(helper.make_node("Identity", [names[output.name]], [name], name=f"Identity_{len(nodes)}"))
    pixels, *outputs = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(("pixels", *OUTPUTS), shapes, strict=True)
    )
    model = helper.make_model(
        helper.make_graph(nodes, "network", [pixels], outputs, initializers),
        producer_name="pneumonia",
        opset_imports=sorted(
            (each for each in exported.opset_import if any(node.domain == each.domain for node in nodes)),
            key=lambda each: each.domain,
        ),
    )
    model.ir_version = exported.ir_version
    return model


def _in_order(outputs: list[str], producers: dict[str, Any]) -> Iterator[Any]:
    """Yield the nodes behind the outputs, each after those that it depends on."""
    visited: set[int] = set()
    stack = [(producers[name], False) for name in reversed(outputs) if name in producers]
    while stack:
        node, ready = stack.pop()
        if id(node) in visited:
            continue
        if ready:
            visited.add(id(node))
            yield node
            continue
        stack.append((node, True))
        stack.extend((producers[name], False) for name in reversed(node.input) if name in producers)
