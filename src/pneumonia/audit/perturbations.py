"""Perturbations of decoded images that keep the diagnosis: compression, resizing, blurring and sharpening of files.

They act on decoded pixels (size, size), not on the original file, so only the image store is needed. Blur and
sharpening are relative to the size.
"""

import io
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Compress as JPEG of a quality (1 to 100), and decompress."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def coarsen(pixels: Pixels, share: float) -> Pixels:
    """Resize to a share (0 to 1) of the size, and back to the size."""
    image = Image.fromarray(pixels)
    side = max(1, round(share * image.width))
    small = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(small.resize(image.size, Image.Resampling.BILINEAR))


def letterbox(pixels: Pixels, aspect: float) -> Pixels:
    """Restore the aspect ratio (width / height) of the original, padded with black to a square."""
    size = len(pixels)
    width, height = (max(1, round(size * factor)) for factor in (min(1.0, aspect), min(1.0, 1 / aspect)))
    canvas = Image.new("L", (size, size))
    picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    canvas.paste(picture, ((size - width) // 2, (size - height) // 2))
    return np.asarray(canvas)


def blur(pixels: Pixels) -> Pixels:
    """Blur with a Gaussian of standard deviation 1/224 of the size, which is one pixel at 224."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(len(pixels) / 224)))


def sharpen(pixels: Pixels) -> Pixels:
    """Add the difference between the image and its `blur` (unsharp masking)."""
    mask = ImageFilter.UnsharpMask(radius=len(pixels) / 224, percent=100, threshold=0)
    return np.asarray(Image.fromarray(pixels).filter(mask))


PERTURBATIONS: Mapping[str, Callable[[Pixels, float], Pixels]] = {
    "jpeg_50": lambda pixels, aspect: jpeg(pixels, 50),
    "half_size": lambda pixels, aspect: coarsen(pixels, 0.5),
    "blur": lambda pixels, aspect: blur(pixels),
    "sharpen": lambda pixels, aspect: sharpen(pixels),
    "jpeg_20": lambda pixels, aspect: jpeg(pixels, 20),
    "quarter_size": lambda pixels, aspect: coarsen(pixels, 0.25),
    "letterbox": letterbox,
}
"""By name; each takes pixels (size, size) and the aspect ratio of the original."""


def perturb(name: str, images: Pixels, aspects: NDArray[np.float64]) -> Pixels:
    """Apply a perturbation by name to images (N, size, size) whose originals have the given aspect ratios (N,)."""
    change = PERTURBATIONS[name]
    return np.stack([change(np.asarray(pixels), aspect) for pixels, aspect in zip(images, aspects, strict=True)])
