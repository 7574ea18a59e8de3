"""What the page and the report say of an answer, in sentences for people."""

from dataclasses import dataclass
from typing import Any

from pneumonia.app.schemas import Meaning, ModelCard, ModelFacts, Prediction
from pneumonia.evaluation.intervals import Estimate

NOTICE = "Research software, not a medical device."
NOTICE_DETAIL = "Not for diagnosis or any other decision about a patient."
BLINDED = "Read the image and give your verdict. The model's answer and its heat map come after it."
NOT_KEPT = "Held in memory for a while, never stored."
KEPT = "This server stores the images."
NO_MEANING = "How many images with such a score showed pneumonia in validation is not recorded with this model."


@dataclass(frozen=True)
class Words:
    """An answer in words.

    Attributes:
        answer: one word.
        meaning: what the number means; empty where there is none.
        explanation: why this answer and no other.
    """

    answer: str
    meaning: str
    explanation: str


def of(prediction: Prediction) -> Words:
    """Put a prediction into words; one that is hidden stays so."""
    if prediction.status != "answered":
        return Words(prediction.status.capitalize(), "", prediction.refusal.reason if prediction.refusal else "")
    if prediction.hidden or prediction.decision is None:
        return Words("Blinded", "", BLINDED)
    return Words(prediction.decision.capitalize(), _meaning(prediction.meaning), _explanation(prediction))


def version(model: ModelFacts) -> str:
    """Say which model it is: name, version where it has one, and the start of its weights' hash."""
    number = "" if model.version is None else f" version {model.version}"
    return f"{model.name}{number} · {model.bundle_sha256[:8]}"


def figures(card: ModelCard) -> list[tuple[str, str]]:
    """Return what the evaluation on the test set found, with 95% intervals; nothing where none is at hand."""
    test: Any = (card.judgement or {}).get("test")
    names = ("sensitivity", "specificity") if test else ()
    return [(name, str(Estimate(**test["figures"][name]))) for name in names]


def percent(share: float) -> str:
    """Write a share of 0 to 1; one that is not quite 0 or 1 is not rounded to it."""
    if 0 < share < 0.001:
        return "< 0.1%"
    if 0.999 < share < 1:
        return "> 99.9%"
    return f"{share:.1%}"


def points(markdown: str) -> list[str]:
    """Return the points of a Markdown list as plain text; one may go on over several lines."""
    return [" ".join(point.split()) for point in f"\n{markdown}".split("\n- ")[1:]]


def _meaning(meaning: Meaning | None) -> str:
    if meaning is None:
        return NO_MEANING
    interval = ""
    if meaning.low is not None and meaning.high is not None:
        interval = f"95% interval {100 * meaning.low:.0f} to {100 * meaning.high:.0f}, "
    return (
        f"Of 100 images scored like this, about {100 * meaning.share:.0f} showed pneumonia in validation "
        f"({interval}from {meaning.images} {'image' if meaning.images == 1 else 'images'})."
    )


def _explanation(prediction: Prediction) -> str:
    band, point = prediction.band, percent(prediction.threshold)
    if prediction.decision == "INDETERMINATE":
        return (
            f"From {percent(band.low)} to {percent(band.high)} the model does not decide: this is too near to the "
            f"operating point of {point}, and in validation it was wrong too often there."
        )
    beside = "" if band.low == band.high else " and outside the indeterminate band"
    if prediction.decision == "PNEUMONIA":
        return f"The probability is above the operating point of {point}{beside}."
    return (
        f"The probability is below the operating point of {point}{beside}. "
        "Normal means no more than that the model sees no pneumonia: it looks for nothing else."
    )
