"""Stage *prepare*: decode every image once into memory-mapped arrays, and list the header metadata of the files."""

import os

import pandas as pd

from pipeline import stage
from pipeline.params import Params
from pneumonia.arrays import store
from pneumonia.core import files, paths
from pneumonia.data import header_metadata
from pneumonia.data.dataset_reports import SourceRecord
from pneumonia.images.decode import decode


def main(params: Params) -> None:
    """Write the image store and the header metadata."""
    origin = files.read_json(paths.DOWNLOAD_REPORT, SourceRecord)
    splits = pd.read_parquet(paths.SPLITS)
    store.write(
        splits,
        paths.RAW,
        paths.IMAGES,
        decode=decode,
        size=params.prepare.size,
        source=origin.source,
        release=origin.release or "",
        workers=os.cpu_count() or 1,
    )
    published = paths.PUBLISHED_FACTS if origin.source == "kermany" else None
    header_metadata.write(paths.HEADER_METADATA, splits, pd.read_parquet(paths.MANIFEST), published)
    print(f"{len(splits):,} images of {params.prepare.size} x {params.prepare.size} pixels in {paths.IMAGES}")


if __name__ == "__main__":
    stage.run(main)
