"""The header facts of the images in use, as the stages that judge need them."""

from pathlib import Path

import pandas as pd

from pneumonia.data.facts import header_facts
from pneumonia.images.store import ImageStore

MANIFEST = Path("artifacts/manifest.parquet")
PUBLISHED = Path("data/kermany-files.csv")


def of(data: ImageStore) -> pd.DataFrame:
    """Return the facts of all images of the store in its order; for the published dataset those of its own files."""
    manifest = pd.read_parquet(MANIFEST).set_index("path").loc[data.index["path"]].reset_index()
    return header_facts(manifest, PUBLISHED if data.source == "kermany" else None)
