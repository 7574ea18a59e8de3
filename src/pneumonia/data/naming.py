"""What a file name says: the cause of the pneumonia, and which images belong to one patient."""

import re
from dataclasses import dataclass
from pathlib import PurePath

# Only the start of a name has to match: "person12_bacteria_46 (1)" is still an image of patient 12.
_KAGGLE_PNEUMONIA = re.compile(r"person(?P<patient>\d+)_(?P<cause>bacteria|virus)_\d+")
_KAGGLE_NORMAL = re.compile(r"(?P<series>NORMAL2-)?IM-(?P<patient>\d+)-\d+")
_MENDELEY = re.compile(r"(?P<cause>NORMAL|BACTERIA|VIRUS)-(?P<patient>\d+)-\d+")


@dataclass(frozen=True)
class ImageName:
    """What the name of one image tells.

    Attributes:
        cause: one of ``labels.CAUSES``.
        patient: key shared by the images of one patient, such as ``bacteria-12``, ``normal-0115`` or
            ``normal2-0095``; None where the name does not tell.
    """

    cause: str
    patient: str | None


def parse(filename: str, label: str) -> ImageName:
    """Read cause and patient out of a file name of the Kaggle or Mendeley (version 3) release.

    The number in ``person<N>_bacteria_<M>`` is counted separately for bacteria and virus, so the key holds both. It
    is counted separately for ``IM-<N>`` and ``NORMAL2-IM-<N>`` too: taken as one series, 94 patients would stand on
    both sides of the official split, and none does otherwise. Where name and class folder disagree about the cause,
    the folder wins, and the patient stays the one of the name, so that relabelled images keep their group. A name of
    another scheme tells no patient.

    Args:
        filename: name of the file, with or without its extension.
        label: one of ``labels.CLASS_NAMES``.
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
