"""Parse file names of the Kermany dataset: cause of the pneumonia, and patient."""

import re
from dataclasses import dataclass
from pathlib import PurePath

# Only the start of a name has to match: "person12_bacteria_46 (1)" is still an image of patient 12.
_KAGGLE_PNEUMONIA = re.compile(r"person(?P<patient>\d+)_(?P<cause>bacteria|virus)_\d+")
_KAGGLE_NORMAL = re.compile(r"(?P<series>NORMAL2-)?IM-(?P<patient>\d+)-\d+")
_MENDELEY = re.compile(r"(?P<cause>NORMAL|BACTERIA|VIRUS)-(?P<patient>\d+)-\d+")


@dataclass(frozen=True)
class ImageName:
    """Parsed name of one image.

    Attributes:
        cause: one of ``labels.CAUSES``.
        patient: key shared by the images of one patient, such as ``bacteria-12``, ``normal-0115`` or
            ``normal2-0095``; None where the name has another scheme.
    """

    cause: str
    patient: str | None


def parse(filename: str, label: str) -> ImageName:
    """Return cause and patient of a file name of the Kaggle or Mendeley (version 3) release.

    The number in ``person<N>_bacteria_<M>`` is counted separately for bacteria and virus, so the key holds both. It
    is counted separately for ``IM-<N>`` and ``NORMAL2-IM-<N>`` too: as one series, 94 patients would be on both sides
    of the official split, as two series none is. Where file name and class folder disagree about the cause, the
    folder decides, and the patient is still that of the name, so that relabelled images keep their group.

    Args:
        filename: name of the file, with or without its extension.
        label: one of ``labels.CLASS_NAMES``.

    Examples:
        >>> parse("person12_bacteria_46.jpeg", "PNEUMONIA")
        ImageName(cause='bacteria', patient='bacteria-12')
        >>> parse("IM000001", "NORMAL")
        ImageName(cause='normal', patient=None)
    """
    fallback = "normal" if label == "NORMAL" else "unknown"
    stem = PurePath(filename).stem
    if match := _KAGGLE_NORMAL.match(stem):
        named, patient = "normal", f"{'normal2' if match['series'] else 'normal'}-{match['patient']}"
    elif match := _KAGGLE_PNEUMONIA.match(stem) or _MENDELEY.match(stem):
        named = match["cause"].lower()
        patient = f"{named}-{match['patient']}"
    else:
        return ImageName(fallback, None)
    agrees = (named == "normal") == (label == "NORMAL")
    return ImageName(named if agrees else fallback, patient)
