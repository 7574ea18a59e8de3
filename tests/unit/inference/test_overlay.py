import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pneumonia.inference import overlay

PIXELS = np.full((32, 32), 100, np.uint8)
NOTHING = np.zeros((32, 32), np.float32)


def panels(figure: Figure) -> list[NDArray[np.int_]]:
    """The plain and the explained image, as they are seen, RGB."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    seen = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    boxes = [axes.get_window_extent() for axes in figure.axes[:2]]
    return [seen[seen.shape[0] - int(b.y1) : seen.shape[0] - int(b.y0), int(b.x0) : int(b.x1)] for b in boxes]


def colourful(panel: NDArray[np.int_]) -> NDArray[np.bool_]:
    return np.ptp(panel, axis=-1) > 40


def test_image_without_evidence_is_drawn_grey_twice() -> None:
    plain, explained = panels(overlay.draw(PIXELS, NOTHING - 5, scale=1.0, title=""))
    assert not colourful(plain).any()
    assert not colourful(explained).any()
    assert np.median(plain) == np.median(explained) == 100


def test_evidence_is_drawn_on_the_second_image_only() -> None:
    evidence = NOTHING.copy()
    evidence[:16, 16:] = 3.0
    plain, explained = panels(overlay.draw(PIXELS, evidence, scale=3.0, title=""))
    assert not colourful(plain).any()
    rows, columns = np.array(explained.shape[:2]) // 2
    coloured = colourful(explained)
    assert coloured[: rows - 10, columns + 10 :].mean() > 0.95
    assert coloured[rows + 10 :].mean() < 0.01


def test_evidence_below_the_scale_is_paler() -> None:
    def change(value: float) -> float:
        _, explained = panels(overlay.draw(PIXELS, NOTHING + np.float32(value), scale=4.0, title=""))
        return float(np.linalg.norm(np.median(explained, axis=(0, 1)) - 100))

    assert 0 < change(0.5) < change(1.5) < change(9.0)
    assert change(4.0) == change(9.0)


@pytest.mark.parametrize("marked", [True, False])
def test_lesion_is_outlined_in_both_images(marked: bool) -> None:
    lesion = np.zeros((32, 32), bool)
    lesion[8:20, 8:20] = marked
    for panel in panels(overlay.draw(PIXELS, NOTHING, scale=1.0, title="", lesion=lesion)):
        assert colourful(panel).any() == marked


def test_figure_has_a_colour_bar_and_a_title() -> None:
    figure = overlay.draw(PIXELS, NOTHING, scale=4.0, title="cnn: NORMAL, probability 0.950")
    assert figure.get_suptitle() == "cnn: NORMAL, probability 0.950"
    bar = figure.axes[2]
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0", "2.0", "≥ 4.0"]
    assert "logits" in bar.get_ylabel()
