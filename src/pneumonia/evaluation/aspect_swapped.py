"""The subset *aspect_swapped*: validation images, each cropped to the aspect ratio typical of the other class."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.arrays.store import ImageStore
from pneumonia.core.labels import CLASS_NAMES
from pneumonia.evaluation import aspect


def validation(data: ImageStore, metadata: pd.DataFrame) -> NDArray[np.uint8]:
    """Return the aspect-swapped validation images, shape (N, size, size), in the order of the store.

    Args:
        data: the image store.
        metadata: header metadata by path, with ``aspect`` (width / height of the original file).
    """
    development = data.index[data.index["subset"] != "test"]
    median = metadata.loc[development["path"], "aspect"].groupby(development["label"].to_numpy()).median()
    normal, pneumonia = (float(median[label]) for label in CLASS_NAMES)
    return aspect.swap(data.images[data.rows("validation")], data.targets("validation"), (normal, pneumonia))
