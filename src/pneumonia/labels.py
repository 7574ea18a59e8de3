"""Names that every part of the project agrees on: classes, causes, splits."""

CLASS_NAMES: tuple[str, str] = ("NORMAL", "PNEUMONIA")
"""Folder names; the position is the training target (NORMAL 0, PNEUMONIA 1)."""

POSITIVE = "PNEUMONIA"
"""The class whose probability a model answers."""

CAUSES: tuple[str, ...] = ("normal", "bacteria", "virus", "unknown")
"""What the file name says of the cause; ``unknown`` is a PNEUMONIA (or foreign) name that does not tell."""

RELEASE_SPLITS: tuple[str, ...] = ("train", "val", "test")
"""Folders of the published release; ``val`` exists in the Kaggle copy alone."""

SUBSETS: tuple[str, ...] = ("train", "validation", "test")
"""What the split stage makes of them: ``train`` and ``validation`` come from development, ``test`` stays official."""


def target(label: str) -> int:
    """Return the training target (0 or 1) of a class name."""
    return CLASS_NAMES.index(label)
