"""One network out of several: the mean of their weights, and weights at half the size on disk."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import keras
import numpy as np

from pneumonia.errors import WeightsError

WEIGHTS = "model.weights.h5"
"""Where the .keras format keeps its weights."""


def average(models: Sequence[keras.Model]) -> keras.Model:
    """Return the network whose weights are the mean of those of networks of one architecture and one start.

    Fine-tuned from the same pretrained weights, such networks lie in one basin, and their mean does about what an
    ensemble of them would, at the price of one: Wortsman et al., "Model soups", ICML 2022.
    """
    soup = keras.models.clone_model(models[0])
    soup.set_weights([np.mean(same, axis=0) for same in zip(*(model.get_weights() for model in models), strict=True)])
    return soup


def halve(file: Path) -> None:
    """Rewrite the weights of a .keras file as float16; Keras reads them into float32 again.

    Values beyond float16's range would be lost; networks of this project have none, and an infinite one is refused.

    Raises:
        WeightsError: a weight does not fit into float16.
    """
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[WEIGHTS] = _halved(parts[WEIGHTS])
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # no time of day: same bytes


def _halved(weights: bytes) -> bytes:
    target = io.BytesIO()
    with h5py.File(io.BytesIO(weights)) as source, h5py.File(target, "w") as result:

        def copy(name: str, node: h5py.Dataset | h5py.Group) -> None:
            if isinstance(node, h5py.Group):
                copied = result.require_group(name)
            else:
                with np.errstate(over="ignore"):  # what becomes infinite is refused below
                    values = node[()].astype(np.float16) if node.dtype == np.float32 else node[()]
                if not np.isfinite(values).all():
                    raise WeightsError(
                        f"weight {name} does not fit into float16, whose largest value is 65504. Train again with a "
                        "lower learning rate, or keep the network in full precision."
                    )
                copied = result.create_dataset(name, data=values)
            copied.attrs.update(node.attrs)

        result.attrs.update(source.attrs)
        source.visititems(copy)
    return target.getvalue()
