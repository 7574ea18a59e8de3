"""Write `.keras` files whose bytes depend on the architecture and the weights alone.

Keras puts the date into such a file, and names that count the layers a process has made so far. Here the same network
gives the same bytes in any process at any time, so that a file's hash identifies the network and a pipeline that
compares files stops where nothing has changed.
"""

import hashlib
import io
import json
import re
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from pneumonia.core import files
from pneumonia.core.errors import WeightsError

NAME = "model.keras"
"""Usual name of a network file."""
METADATA = "metadata.json"
CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
"""Parts of the zip archive that the .keras format is."""


def save(model: keras.Model, path: Path, *, float16: bool = False) -> str:
    """Save a network for inference; the file is replaced atomically.

    Args:
        model: a functional network, flat: no model nested in it.
        path: of the file to write, ending in ``.keras``.
        float16: store float32 weights as float16, at half the size. Keras reads them into float32 again.

    Returns:
        SHA-256 of the file.

    Raises:
        WeightsError: a weight is beyond the range of float16.
    """
    with tempfile.TemporaryDirectory() as scratch:
        original = Path(scratch, "network.keras")
        model.save(original, include_optimizer=False)
        parts = _read(original)
    config = json.loads(parts[CONFIG])
    _remove_object_ids(config)
    names = _canonical_names(config)
    _rename(config, names)
    metadata = json.loads(parts[METADATA])
    del metadata["date_saved"]
    content = io.BytesIO()
    # Stored, not deflated: compressed bytes would depend on the version of zlib.
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, part in (
            (METADATA, json.dumps(metadata).encode()),
            (CONFIG, json.dumps(config).encode()),
            (WEIGHTS, _weights(parts[WEIGHTS], names, float16=float16)),
        ):
            archive.writestr(zipfile.ZipInfo(name), part)  # its date is 1980-01-01
    files.write_bytes(path, content.getvalue())
    return hashlib.sha256(content.getvalue()).hexdigest()


def load(path: Path) -> keras.Model:
    """Load a network for inference, without the state of its optimizer."""
    return keras.saving.load_model(path, compile=False)


def _read(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _remove_object_ids(node: Any) -> None:
    """Remove the memory addresses by which Keras marks objects that layers share, such as the policy of dtypes."""
    if isinstance(node, dict):
        node.pop("shared_object_id", None)
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _remove_object_ids(child)


def _canonical_names(config: dict[str, Any]) -> dict[str, str]:
    """Return new names for the model and for layers that Keras has named, counted from 0 in this network."""
    names = {config["config"]["name"]: _snake_case(config["class_name"])}
    counts: Counter[str] = Counter()
    for layer in config["config"]["layers"]:
        base = _snake_case(layer["class_name"])
        if re.fullmatch(rf"{base}(_\d+)?", layer["name"]):
            names[layer["name"]] = f"{base}_{counts[base]}" if counts[base] else base
            counts[base] += 1
    return names


def _rename(node: Any, names: dict[str, str]) -> None:
    """Rename layers wherever a configuration mentions them: as a name, or as the first part of a tensor's history."""
    if isinstance(node, list):
        if len(node) == 3 and isinstance(node[0], str) and all(isinstance(part, int) for part in node[1:]):
            node[0] = names.get(node[0], node[0])
        for child in node:
            _rename(child, names)
    elif isinstance(node, dict):
        if isinstance(node.get("name"), str):
            node["name"] = names.get(node["name"], node["name"])
        for child in node.values():
            _rename(child, names)


def _snake_case(class_name: str) -> str:
    """Return the name that Keras gives to the first layer of a class: AveragePooling2D becomes average_pooling2d."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def _weights(content: bytes, names: dict[str, str], *, float16: bool) -> bytes:
    """Copy an HDF5 file of weights with the new names, and with float16 for float32 where asked."""
    target = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as source, h5py.File(target, "w") as result:

        def copy(path: str, node: h5py.Dataset | h5py.Group) -> None:
            if isinstance(node, h5py.Group):
                copied = result.require_group(path)
            else:
                values = _to_float16(path, node[()]) if float16 and node.dtype == np.float32 else node[()]
                copied = result.create_dataset(path, data=values, track_times=False)
            for key, value in node.attrs.items():
                copied.attrs[key] = names.get(value, value) if isinstance(value, str) else value

        result.attrs.update(source.attrs)
        source.visititems(copy)
    return target.getvalue()


def _to_float16(name: str, values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # a value that becomes infinite is refused below
        halved = values.astype(np.float16)
    if not np.isfinite(halved).all():
        raise WeightsError(
            f"weight {name} does not fit into float16, whose largest value is 65504 (its own is "
            f"{np.abs(values).max():g}). Train again with a lower learning rate, or save in full precision."
        )
    return halved
