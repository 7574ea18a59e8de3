"""Report of a study on one A4 page: image, heat map, result, reader's assessment, model and limitations."""

import io
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from fpdf import FPDF
from fpdf.enums import WrapMode, XPos, YPos
from fpdf.fonts import TTFFont
from numpy.typing import NDArray
from PIL import Image

from pneumonia.core.errors import ServiceError
from pneumonia.serving import wording
from pneumonia.serving.schemas import ModelDetails, ModelInfo, Prediction
from pneumonia.serving.wording import ResultText

TITLE = "Result of a research model for a chest radiograph"
MARGIN, WIDTH, BOTTOM = 15.0, 180.0, 280.0
"""Left margin, width and lower edge of the printed area, in mm."""
OVERLAY_OPACITY = 0.5
BAR, HATCH = 4.0, 1.6
"""Height of the probability scale and distance of the lines in its indeterminate range, in mm."""
BLACK, GREY, LINE, AMBER, TINT = (0, 0, 0), (85, 95, 105), (160, 168, 176), (140, 98, 0), (255, 246, 224)
MARK = (11, 92, 173)
COLOURS = {"Pneumonia": (168, 50, 16), "Normal": (10, 102, 90), "Indeterminate": AMBER}


@dataclass(frozen=True)
class PageLayout:
    """Sizes on the page.

    Attributes:
        image_height: maximum height of the images in mm.
        font_scale: factor on all font sizes.
    """

    image_height: float
    font_scale: float


LAYOUTS = (PageLayout(92, 1), PageLayout(65, 1), PageLayout(40, 1), PageLayout(40, 0.8), PageLayout(40, 0.6))
"""Candidates: the first whose content fits on one page is used, else the last."""


def render(
    prediction: Prediction, *, details: ModelDetails, image: NDArray[np.uint8] | None, overlay: Image.Image | None
) -> bytes:
    """Return the report as PDF.

    Args:
        prediction: prediction to report; a hidden one is reported without its result.
        details: the model in use, for its limitations.
        image: decoded image, shape (H, W); None if it is not in memory any more.
        overlay: heat map as RGBA, of any size; None if there is none.

    Raises:
        ServiceError: the fonts of the report are not installed.
    """
    for layout in LAYOUTS:
        with _Page(layout) as page:
            _fill(page, prediction, details, image, overlay)
            fits = page.get_y() <= BOTTOM
            content = bytes(page.output())
        if fits:
            break
    return content


class _Page(FPDF):
    """An A4 page in a font that covers most scripts, with the notice in its footer."""

    def __init__(self, layout: PageLayout) -> None:
        super().__init__()
        self.layout = layout
        self.add_font("sans", "", _font_folder() / "DejaVuSans.ttf")
        self.add_font("sans", "B", _font_folder() / "DejaVuSans-Bold.ttf")
        self.set_margins(MARGIN, MARGIN)
        self.set_auto_page_break(False)
        self.add_page()

    def __enter__(self) -> "_Page":
        return self

    def __exit__(self, *_: object) -> None:
        """Close the font files, which fpdf2 leaves open."""
        for font in self.fonts.values():
            if isinstance(font, TTFFont):
                font.ttfont.close()

    def footer(self) -> None:
        """Write the notice."""
        self.set_y(-12)
        self.paragraph(f"{wording.NOTICE} {wording.NOTICE_DETAIL}", 7.5, colour=GREY)

    def paragraph(
        self,
        text: str,
        size: float,
        *,
        bold: bool = False,
        colour: tuple[int, int, int] = BLACK,
        gap: float = 0.0,
        fill: bool = False,
    ) -> None:
        """Write a paragraph over the full width.

        Args:
            text: content.
            size: font size in points.
            bold: whether the font is bold.
            colour: of the text, as RGB.
            gap: space after the paragraph in mm.
            fill: whether the background is filled.
        """
        size *= self.layout.font_scale
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
    details: ModelDetails,
    image: NDArray[np.uint8] | None,
    overlay: Image.Image | None,
) -> None:
    page.set_title(TITLE)
    page.paragraph(TITLE, 13, bold=True, gap=1)
    page.set_fill_color(*TINT)
    page.paragraph(f"{wording.NOTICE} {wording.NOTICE_DETAIL}", 9, bold=True, colour=AMBER, gap=1.5, fill=True)
    page.paragraph(" · ".join(_study_details(prediction)), 8.5, colour=GREY, gap=2)
    _pictures(page, prediction, image, overlay)
    _result(page, prediction, wording.describe_result(prediction))
    for warning in prediction.warnings:
        page.paragraph(f"Warning: {warning}", 9, colour=AMBER, gap=0.5)
    _heading(page, "Reader's assessment")
    page.paragraph(_assessment(prediction), 9)
    _heading(page, "Model")
    page.paragraph(_model(prediction.model), 9, gap=0.5)
    if prediction.model.is_phantom:
        page.paragraph("Trained on synthetic images; not valid for patients.", 9, bold=True, colour=AMBER)
    is_current = prediction.model.bundle_sha256 == details.model.bundle_sha256
    current = wording.format_version(details.model)
    _heading(page, "Limitations" if is_current else f"Limitations of the model now in use ({current})")
    for item in wording.list_items(details.limits):
        page.paragraph(f"•  {item}", 8, gap=0.4)


def _study_details(prediction: Prediction) -> list[str]:
    image = prediction.image
    size = [image.format, f"{image.width} × {image.height} pixels", image.view or ""] if image else []
    created = f"{prediction.created:%Y-%m-%d %H:%M} UTC"
    return [text for text in (prediction.file, *size, f"analyzed {created}", f"study {prediction.id}") if text]


def _pictures(
    page: _Page, prediction: Prediction, image: NDArray[np.uint8] | None, overlay: Image.Image | None
) -> None:
    if image is None:
        page.paragraph("The image is not in memory any more, or cannot be displayed.", 9, colour=GREY, gap=2)
        return
    plain = Image.fromarray(image)
    pictures = [(plain.convert("RGB"), "Image")]
    if overlay is not None and not prediction.hidden:
        pictures.append((_blend(plain, overlay), "Heat map of evidence for pneumonia: yellow weak, red strong"))
    top, width = page.get_y(), (WIDTH - 4) / 2
    height = min(page.layout.image_height, width * plain.height / plain.width)
    for column, (picture, caption) in enumerate(pictures):
        left = MARGIN + column * (width + 4)
        page.image(_jpeg(picture), left, top, width, height, keep_aspect_ratio=True, alt_text=caption)
        page.set_xy(left, top + height + 0.5)
        page.set_font("sans", "", 7.5)
        page.set_text_color(*GREY)
        page.cell(width, 4, caption)
    page.set_xy(MARGIN, top + height + 6)


def _blend(plain: Image.Image, overlay: Image.Image) -> Image.Image:
    layer = overlay.resize(plain.size, Image.Resampling.BILINEAR)
    layer.putalpha(layer.getchannel("A").point(lambda alpha: alpha * OVERLAY_OPACITY))
    return Image.alpha_composite(plain.convert("RGBA"), layer).convert("RGB")


def _jpeg(picture: Image.Image) -> io.BytesIO:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file


def _result(page: _Page, prediction: Prediction, text: ResultText) -> None:
    page.paragraph(text.answer, 15, bold=True, colour=COLOURS.get(text.answer, BLACK), gap=0.5)
    if prediction.probability is not None and not prediction.hidden:
        page.paragraph(f"Probability of pneumonia {wording.format_percent(prediction.probability)}", 10.5, bold=True)
        _bar(page, prediction, prediction.probability)
    if text.meaning:
        page.paragraph(text.meaning, 9.5, bold=True, gap=0.8)
    page.paragraph(text.explanation, 9, gap=0.8)


def _bar(page: _Page, prediction: Prediction, probability: float) -> None:
    """Draw the probability on a scale of 0 to 1, with operating point and indeterminate range."""
    band, threshold = prediction.band, prediction.threshold
    top = page.get_y() + 5.5
    below = top + BAR + 1
    if band.low < band.high:
        _hatch(page, _scale_x(band.low), _scale_x(band.high), top)
        text = f"indeterminate {wording.format_percent(band.low)} to {wording.format_percent(band.high)}"
        _label(page, text, (band.low + band.high) / 2, below)
    page.set_draw_color(*LINE)
    page.rect(MARGIN, top, WIDTH, BAR)
    page.set_fill_color(*BLACK)
    page.rect(_scale_x(threshold) - 0.25, top - 1.2, 0.5, BAR + 2.4, "F")
    page.set_fill_color(*MARK)
    page.rect(_scale_x(probability) - 1, top - 0.8, 2, BAR + 1.6, "F", round_corners=True, corner_radius=0.6)
    _label(page, f"operating point {wording.format_percent(threshold)}", threshold, top - 4.8)
    for end in (0.0, 1.0):
        _label(page, wording.format_percent(end), end, below + 3.2)
    page.set_y(below + 8)


def _scale_x(probability: float) -> float:
    return MARGIN + WIDTH * probability


def _hatch(page: _Page, left: float, right: float, top: float) -> None:
    page.set_draw_color(*AMBER)
    with page.rect_clip(left, top, right - left, BAR):
        for start in np.arange(left - BAR, right, HATCH):
            page.line(start, top + BAR, start + BAR, top)


def _label(page: _Page, text: str, position: float, top: float) -> None:
    """Write a label at a position (0 to 1) of the scale, inside its ends."""
    page.set_font("sans", "", 7.5)
    page.set_text_color(*GREY)
    width = page.get_string_width(text)
    page.set_xy(MARGIN + (WIDTH - width) * position, top)
    page.c_margin = 0.0
    page.cell(width, 3.5, text)


def _heading(page: _Page, text: str) -> None:
    page.ln(1.5)
    page.paragraph(text, 9.5, bold=True, gap=0.3)


def _assessment(prediction: Prediction) -> str:
    if not prediction.feedback:
        return "None."
    last = prediction.feedback[-1]
    when = "before" if last.blinded else "after"
    return f"{last.verdict.capitalize()}, {when} the result was shown, {last.created:%Y-%m-%d %H:%M} UTC."


def _model(model: ModelInfo) -> str:
    version = "" if model.version is None else f", version {model.version}"
    return (
        f"{model.name}{version}. Source: {wording.format_source(model)}. Training data: "
        f"{wording.format_training_data(model)}. SHA-256 of the model: {model.bundle_sha256}."
    )


@cache
def _font_folder() -> Path:
    """Return the folder of the DejaVu fonts in Matplotlib's package, without importing it (a third of a second)."""
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ServiceError("the fonts of the PDF report are missing. Install matplotlib.")
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
