"""Typed report of the stage *explain*: the illustrated cases of one model, and its pointing game."""

from pneumonia.core.estimate import Estimate
from pneumonia.core.model import FrozenModel


class HitRate(FrozenModel):
    """Share of heat maps whose maximum lies in the lesion, and the numbers of images and patients behind it."""

    images: int
    patients: int
    share: Estimate


class ChanceHitRates(FrozenModel):
    """Hit rates of pointing without a model.

    Attributes:
        image: at a random pixel of the image.
        lungs: at a random pixel of the lungs.
        best_fixed_place: at the same pixel in all images, the best one in hindsight.
    """

    image: float
    lungs: float
    best_fixed_place: float


class PointingGame(FrozenModel):
    """Result of the pointing game on images with known lesions.

    Attributes:
        tolerance: accepted distance from the lesion, as a share of the image's side.
        hits: hit rate of ``all`` images and of each cause.
        chance: hit rates without a model.
    """

    tolerance: float
    hits: dict[str, HitRate]
    chance: ChanceHitRates


class ExplainedCase(FrozenModel):
    """An image whose heat map was drawn.

    Attributes:
        rule: why the image was chosen, a key of `ExplanationReport.rules`.
        picture: file name of the drawing.
        path: of the image in the dataset.
        label: its class.
        probability: calibrated probability of PNEUMONIA.
    """

    rule: str
    picture: str
    path: str
    label: str
    probability: float


class ExplanationReport(FrozenModel):
    """Explanations of one model, reports/explanations/<model>.json.

    Attributes:
        model: name of the model in params.yaml.
        rules: descriptions of the rules that choose cases.
        pointing_game: None where the source has no known lesions.
        cases: the drawn images.
    """

    model: str
    rules: dict[str, str]
    pointing_game: PointingGame | None
    cases: tuple[ExplainedCase, ...]
