"""Stage *prepare*: decode every image once, into memory-mapped arrays."""

import json
import os
from pathlib import Path

import pandas as pd

from pipeline import stage
from pneumonia import config
from pneumonia.images import store

RAW = Path("artifacts/raw")
SPLITS = Path("artifacts/splits.parquet")
DOWNLOAD = Path("reports/download.json")
IMAGES = Path("artifacts/images")


def main(params: config.Params) -> None:
    """Write the image store."""
    origin = json.loads(DOWNLOAD.read_text(encoding="utf-8"))
    splits = pd.read_parquet(SPLITS)
    store.write(
        splits,
        RAW,
        IMAGES,
        size=params.prepare.size,
        source=origin["source"],
        release=origin["release"] or "",
        workers=os.cpu_count() or 1,
    )
    print(f"{len(splits):,} images of {params.prepare.size} x {params.prepare.size} pixels in {IMAGES}")


if __name__ == "__main__":
    stage.run(main)
