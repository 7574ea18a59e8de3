"""Names of classes, causes and splits, shared by all packages."""

CLASS_NAMES: tuple[str, str] = ("NORMAL", "PNEUMONIA")
"""Folder names; the position is the training target (NORMAL 0, PNEUMONIA 1)."""

POSITIVE = "PNEUMONIA"
"""The class whose probability models return."""

CAUSES: tuple[str, ...] = ("normal", "bacteria", "virus", "unknown")
"""Cause according to the file name; ``unknown`` is a PNEUMONIA image (or another naming scheme) without a cause."""

RELEASE_SPLITS: tuple[str, ...] = ("train", "val", "test")
"""Folders of the published release; only the Kaggle copy has ``val``."""

SUBSETS: tuple[str, ...] = ("train", "validation", "test")
"""Subsets of the split stage: ``train`` and ``validation`` (development images), and the official ``test``."""


def target(label: str) -> int:
    """Return the training target of a class name.

    Examples:
        >>> target("PNEUMONIA")
        1
    """
    return CLASS_NAMES.index(label)
