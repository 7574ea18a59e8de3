"""Texts of the page and of the PDF report: results, the model, and its metrics."""

from dataclasses import dataclass
from pathlib import Path

from pneumonia.serving.schemas import ModelDetails, ModelInfo, ObservedFrequency, Prediction

NOTICE = "Research software, not a medical device."
NOTICE_DETAIL = "Not for diagnosis or any other decision about a patient."
BLINDED = "Assess the image first. The model's result and the heat map are shown afterwards."
IMAGES_NOT_STORED = "Images are held in memory for a short time and are not stored."
IMAGES_STORED = "This server stores uploaded images."
NO_FREQUENCY = "The frequency of pneumonia among validation images with a similar probability is not available."
TRAINING_DATA = {
    "kermany": "Pediatric chest radiographs (Kermany et al. 2018)",
    "phantom": "Synthetic radiographs (phantoms)",
}
"""Names of training data by source."""


@dataclass(frozen=True)
class ResultText:
    """The result of an image as text.

    Attributes:
        answer: the result in one word.
        meaning: what the probability meant in validation; empty if there is no probability.
        explanation: why this is the result.
    """

    answer: str
    meaning: str
    explanation: str


def describe_result(prediction: Prediction) -> ResultText:
    """Return the result of an image as text; a withheld result stays withheld."""
    if prediction.status != "answered":
        reason = prediction.refusal.reason if prediction.refusal else ""
        return ResultText(prediction.status.capitalize(), "", reason)
    if prediction.hidden or prediction.decision is None:
        return ResultText("Blinded", "", BLINDED)
    return ResultText(
        prediction.decision.capitalize(), _describe_frequency(prediction.meaning), _explain_decision(prediction)
    )


def format_version(model: ModelInfo) -> str:
    """Return name, registry version if any, and the first 8 digits of the bundle's hash."""
    number = "" if model.version is None else f" version {model.version}"
    return f"{model.name}{number} · {model.bundle_sha256[:8]}"


def format_source(model: ModelInfo) -> str:
    """Return where a model was loaded from."""
    if model.version is not None:
        return "Model registry (champion)"
    if model.origin.startswith("release"):
        return "Included with this software"
    return f"Folder {Path(model.origin).name}"


def format_training_data(model: ModelInfo) -> str:
    """Return the name of the training data."""
    source = model.data.partition(" ")[0]
    return TRAINING_DATA.get(source, model.data)


def format_test_metrics(details: ModelDetails) -> list[tuple[str, str]]:
    """Return sensitivity and specificity on the test set with 95% intervals; empty without an evaluation."""
    test = (details.evaluation or {}).get("test")
    return [(name, str(test.figures[name])) for name in ("sensitivity", "specificity")] if test else []


def format_percent(share: float) -> str:
    """Return a share of 0 to 1 as a percentage; values between are never rounded to 0% or 100%.

    Examples:
        >>> format_percent(0.5), format_percent(0.0004), format_percent(0.9996)
        ('50.0%', '< 0.1%', '> 99.9%')
    """
    if 0 < share < 0.001:
        return "< 0.1%"
    if 0.999 < share < 1:
        return "> 99.9%"
    return f"{share:.1%}"


def list_items(markdown: str) -> list[str]:
    """Return the items of a Markdown list as plain text; an item may have several lines.

    Examples:
        >>> list_items("- One hospital.\\n- Two classes,\\n  no more.\\n")
        ['One hospital.', 'Two classes, no more.']
    """
    return [" ".join(item.split()) for item in f"\n{markdown}".split("\n- ")[1:]]


def _describe_frequency(frequency: ObservedFrequency | None) -> str:
    if frequency is None:
        return NO_FREQUENCY
    interval = ""
    if frequency.low is not None and frequency.high is not None:
        interval = f"95% interval {100 * frequency.low:.0f} to {100 * frequency.high:.0f}, "
    images = f"{frequency.images} {'image' if frequency.images == 1 else 'images'}"
    return (
        f"In validation, about {100 * frequency.share:.0f} of 100 images with a similar probability showed pneumonia "
        f"({interval}{images})."
    )


def _explain_decision(prediction: Prediction) -> str:
    band, point = prediction.band, format_percent(prediction.threshold)
    if prediction.decision == "INDETERMINATE":
        return (
            f"The probability is in the indeterminate range of {format_percent(band.low)} to "
            f"{format_percent(band.high)} around the operating point of {point}, where the error rate on validation "
            "images was too high for a decision."
        )
    outside = "" if band.low == band.high else " and outside the indeterminate range"
    if prediction.decision == "PNEUMONIA":
        return f"The probability is above the operating point of {point}{outside}."
    return (
        f"The probability is below the operating point of {point}{outside}. "
        "Normal means that the model detected no pneumonia. It does not assess other findings."
    )
