"""Draw an image with its evidence map as an overlay."""

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pneumonia.inference.evidence import heat

OPACITY = 0.6
LESION_COLOUR = "#00e5ff"


def draw(
    pixels: NDArray[np.uint8],
    evidence: NDArray[np.float32],
    *,
    scale: float,
    title: str,
    lesion: NDArray[np.bool_] | None = None,
) -> Figure:
    """Draw an image twice: plain, and with its evidence for pneumonia as a transparent overlay with a colour bar.

    Args:
        pixels: decoded image, shape (size, size).
        evidence: its evidence map in logits, shape (size, size); evidence against pneumonia is not drawn.
        scale: logits, above 0, from which the colour is the strongest.
        title: of the figure.
        lesion: mask of the known lesion, shape (size, size); it is outlined.
    """
    colours = _transparent_at_zero("autumn_r")
    figure = Figure(figsize=(8.4, 4.4), layout="constrained")
    plain, explained = figure.subplots(1, 2)
    for axes in (plain, explained):
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
    layer = explained.imshow(heat(evidence, scale), cmap=colours, norm=Normalize(0, 1))
    bar = figure.colorbar(layer, ax=explained, shrink=0.85, ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["0", f"{scale / 2:.1f}", f"≥ {scale:.1f}"])
    bar.set_label("evidence for pneumonia (logits)")
    if lesion is not None and lesion.any():
        for axes in (plain, explained):
            axes.contour(lesion, levels=[0.5], colors=LESION_COLOUR, linewidths=1)
        plain.plot([], [], color=LESION_COLOUR, linewidth=1, label="lesion")
        plain.legend(loc="lower left", fontsize="small")
    figure.suptitle(title, fontsize="medium")
    return figure


def _transparent_at_zero(name: str) -> ListedColormap:
    """Return a colour map that is transparent at 0, so that the image is visible where there is no evidence."""
    colours = colormaps[name](np.linspace(0, 1, 256))
    colours[:, 3] = np.minimum(np.linspace(0, 2 * OPACITY, 256), OPACITY)
    return ListedColormap(colours)
