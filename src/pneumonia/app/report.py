"""A study on one page of A4: the image, the heat map, the answer and what it means, the model and its limits."""

import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from fpdf import FPDF
from fpdf.enums import WrapMode, XPos, YPos
from fpdf.fonts import TTFFont
from numpy.typing import NDArray
from PIL import Image

from pneumonia.app import words
from pneumonia.app.schemas import ModelCard, ModelFacts, Prediction
from pneumonia.app.words import Words

MARGIN, WIDTH, BOTTOM = 15.0, 180.0, 280.0
"""Of the printed area, in mm."""
OVERLAY_OPACITY = 0.5
BAR, HATCH = 4.0, 1.6
"""Height of the scale and distance of the lines in its indeterminate band, in mm."""
BLACK, GREY, LINE, AMBER, TINT = (0, 0, 0), (85, 95, 105), (160, 168, 176), (140, 98, 0), (255, 246, 224)
MARK = (11, 92, 173)
COLOURS = {"Pneumonia": (168, 50, 16), "Normal": (10, 102, 90), "Indeterminate": AMBER}


@dataclass(frozen=True)
class Layout:
    """How large things are: height of the pictures in mm, and a factor on the size of letters."""

    pictures: float
    letters: float


LAYOUTS = (Layout(92, 1), Layout(65, 1), Layout(40, 1), Layout(40, 0.8), Layout(40, 0.6))
"""The first that fits on one page is taken, else the last."""


def draw(
    prediction: Prediction, *, card: ModelCard, image: NDArray[np.uint8] | None, overlay: Image.Image | None
) -> bytes:
    """Return the report as PDF.

    Args:
        prediction: what it reports; one that is hidden is reported without its answer.
        card: of the model that answers now.
        image: the decoded image (H, W); None where it is not held any more.
        overlay: the heat map as RGBA, of any size; None where there is none.
    """
    for layout in LAYOUTS:
        with _Page(layout) as page:
            _fill(page, prediction, card, image, overlay)
            fits = page.get_y() <= BOTTOM
            drawn = bytes(page.output())
        if fits:
            break
    return drawn


class _Page(FPDF):
    """A page of A4 in a font that has letters of most scripts, and that repeats the notice at its foot."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")
        self.add_font("sans", "", fonts / "DejaVuSans.ttf")
        self.add_font("sans", "B", fonts / "DejaVuSans-Bold.ttf")
        self.set_margins(MARGIN, MARGIN)
        self.set_auto_page_break(False)
        self.add_page()

    def __enter__(self) -> "_Page":
        return self

    def __exit__(self, *_: object) -> None:
        """Close the fonts, which fpdf2 leaves open."""
        for font in self.fonts.values():
            if isinstance(font, TTFFont):
                font.ttfont.close()

    def footer(self) -> None:
        """Say once more what this is not."""
        self.set_y(-12)
        self.text_in(f"{words.NOTICE} {words.NOTICE_DETAIL}", 7.5, colour=GREY)

    def text_in(
        self,
        text: str,
        size: float,
        *,
        bold: bool = False,
        colour: tuple[int, int, int] = BLACK,
        gap: float = 0.0,
        fill: bool = False,
    ) -> None:
        """Write a paragraph over the whole width, in a size in points, with a gap in mm after it."""
        size *= self.layout.letters
        self.set_font("sans", "B" if bold else "", size)
        self.set_text_color(*colour)
        self.set_x(MARGIN)
        self.c_margin = 1.0 if fill else 0.0
        self.multi_cell(
            WIDTH, size * 0.5, text, fill=fill, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT, wrapmode=WrapMode.WORD
        )
        self.ln(gap)


def _fill(
    page: _Page,
    prediction: Prediction,
    card: ModelCard,
    image: NDArray[np.uint8] | None,
    overlay: Image.Image | None,
) -> None:
    page.set_title("Answer of a research model on a chest radiograph")
    page.text_in("Answer of a research model on a chest radiograph", 13, bold=True, gap=1)
    page.set_fill_color(*TINT)
    page.text_in(f"{words.NOTICE} {words.NOTICE_DETAIL}", 9, bold=True, colour=AMBER, gap=1.5, fill=True)
    page.text_in(" · ".join(_facts(prediction)), 8.5, colour=GREY, gap=2)
    _pictures(page, prediction, image, overlay)
    _answer(page, prediction, words.of(prediction))
    for warning in prediction.warnings:
        page.text_in(f"Warning: {warning}", 9, colour=AMBER, gap=0.5)
    _heading(page, "Reader")
    page.text_in(_reader(prediction), 9)
    _heading(page, "Model")
    page.text_in(_model(prediction.model), 9, gap=0.5)
    if prediction.model.is_phantom:
        page.text_in("Trained on drawings: it says nothing about patients.", 9, bold=True, colour=AMBER)
    is_current = prediction.model.bundle_sha256 == card.model.bundle_sha256
    _heading(page, "Limits" if is_current else f"Limits of the model that answers now ({card.model.origin})")
    for limit in words.points(card.limits):
        page.text_in(f"•  {limit}", 8, gap=0.4)


def _facts(prediction: Prediction) -> list[str]:
    image = prediction.image
    told = [image.format, f"{image.width} × {image.height} pixels", image.view or ""] if image else []
    created = f"{prediction.created:%Y-%m-%d %H:%M} UTC"
    return [text for text in (prediction.file, *told, f"answered {created}", f"study {prediction.id}") if text]


def _pictures(
    page: _Page, prediction: Prediction, image: NDArray[np.uint8] | None, overlay: Image.Image | None
) -> None:
    if image is None:
        page.text_in("The image is not held any more, or cannot be shown.", 9, colour=GREY, gap=2)
        return
    plain = Image.fromarray(image)
    shown = [(plain.convert("RGB"), "Image")]
    if overlay is not None and not prediction.hidden:
        shown.append((_lay_over(plain, overlay), "Evidence for pneumonia: yellow weak, red strong"))
    top, width = page.get_y(), (WIDTH - 4) / 2
    height = min(page.layout.pictures, width * plain.height / plain.width)
    for place, (picture, caption) in enumerate(shown):
        left = MARGIN + place * (width + 4)
        page.image(_jpeg(picture), left, top, width, height, keep_aspect_ratio=True, alt_text=caption)
        page.set_xy(left, top + height + 0.5)
        page.set_font("sans", "", 7.5)
        page.set_text_color(*GREY)
        page.cell(width, 4, caption)
    page.set_xy(MARGIN, top + height + 6)


def _lay_over(plain: Image.Image, overlay: Image.Image) -> Image.Image:
    layer = overlay.resize(plain.size, Image.Resampling.BILINEAR)
    layer.putalpha(layer.getchannel("A").point(lambda alpha: alpha * OVERLAY_OPACITY))
    return Image.alpha_composite(plain.convert("RGBA"), layer).convert("RGB")


def _jpeg(picture: Image.Image) -> io.BytesIO:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file


def _answer(page: _Page, prediction: Prediction, said: Words) -> None:
    page.text_in(said.answer, 15, bold=True, colour=COLOURS.get(said.answer, BLACK), gap=0.5)
    if prediction.probability is not None and not prediction.hidden:
        page.text_in(f"Probability of pneumonia {words.percent(prediction.probability)}", 10.5, bold=True)
        _bar(page, prediction, prediction.probability)
    if said.meaning:
        page.text_in(said.meaning, 9.5, bold=True, gap=0.8)
    page.text_in(said.explanation, 9, gap=0.8)


def _bar(page: _Page, prediction: Prediction, probability: float) -> None:
    """Draw the probability on its scale, with the operating point and the indeterminate band."""
    band, threshold = prediction.band, prediction.threshold
    top = page.get_y() + 5.5
    below = top + BAR + 1
    if band.low < band.high:
        _hatch(page, _place(band.low), _place(band.high), top)
        text = f"indeterminate {words.percent(band.low)} to {words.percent(band.high)}"
        _label(page, text, (band.low + band.high) / 2, below)
    page.set_draw_color(*LINE)
    page.rect(MARGIN, top, WIDTH, BAR)
    page.set_fill_color(*BLACK)
    page.rect(_place(threshold) - 0.25, top - 1.2, 0.5, BAR + 2.4, "F")
    page.set_fill_color(*MARK)
    page.rect(_place(probability) - 1, top - 0.8, 2, BAR + 1.6, "F", round_corners=True, corner_radius=0.6)
    _label(page, f"operating point {words.percent(threshold)}", threshold, top - 4.8)
    for end in (0.0, 1.0):
        _label(page, words.percent(end), end, below + 3.2)
    page.set_y(below + 8)


def _place(probability: float) -> float:
    return MARGIN + WIDTH * probability


def _hatch(page: _Page, left: float, right: float, top: float) -> None:
    page.set_draw_color(*AMBER)
    with page.rect_clip(left, top, right - left, BAR):
        for start in np.arange(left - BAR, right, HATCH):
            page.line(start, top + BAR, start + BAR, top)


def _label(page: _Page, text: str, at: float, top: float) -> None:
    """Write under or over a place (0 to 1) on the scale, without leaving it."""
    page.set_font("sans", "", 7.5)
    page.set_text_color(*GREY)
    width = page.get_string_width(text)
    page.set_xy(MARGIN + (WIDTH - width) * at, top)
    page.c_margin = 0.0
    page.cell(width, 3.5, text)


def _heading(page: _Page, text: str) -> None:
    page.ln(1.5)
    page.text_in(text, 9.5, bold=True, gap=0.3)


def _reader(prediction: Prediction) -> str:
    if not prediction.feedback:
        return "No verdict has been given."
    last = prediction.feedback[-1]
    when = "before" if last.blinded else "after"
    return f"{last.verdict.capitalize()}, given {when} seeing the answer, {last.created:%Y-%m-%d %H:%M} UTC."


def _model(model: ModelFacts) -> str:
    version = "" if model.version is None else f", version {model.version}"
    return f"{model.name}{version}, from {model.origin}, trained on {model.data}. Weights {model.bundle_sha256}."
