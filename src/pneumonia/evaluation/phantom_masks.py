"""Lesion and lung masks of a phantom dataset, drawn again from its settings."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pneumonia.data import phantom
from pneumonia.data.settings import PhantomParams

Mask = NDArray[np.bool_]


class PhantomMasks:
    """Where the lungs and lesions of phantoms are, in the square that images are decoded to."""

    def __init__(self, params: PhantomParams, size: int) -> None:
        """Plan the dataset of ``params``; masks are (size, size)."""
        self._params = params
        self._cases = {case.path: case for case in phantom.plan(params)}
        self._size = (size, size)

    def lesion(self, path: str) -> Mask:
        """Return the lesion mask (size, size) of one image."""
        return self._stretch(self._cases[path].draw(self._params).lesion)

    def masks(self, paths: "pd.Series[str]") -> tuple[Mask, Mask]:
        """Return the lesion masks (N, size, size) and the lung masks (N, size, size) of images."""
        drawn = [self._cases[path].draw(self._params) for path in paths]
        lesions = np.stack([self._stretch(phantom_.lesion) for phantom_ in drawn])
        return lesions, np.stack([self._stretch(phantom_.lungs) for phantom_ in drawn])

    def _stretch(self, mask: Mask) -> Mask:
        return np.asarray(Image.fromarray(mask).resize(self._size, Image.Resampling.NEAREST))
