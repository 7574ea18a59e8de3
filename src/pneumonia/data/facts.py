"""Header facts of the images: what can be known of a file without looking at its pixels."""

from pathlib import Path

import pandas as pd

from pneumonia.errors import DataError

READ = ("width", "height", "mode", "bytes", "jpeg_quality")
COLUMNS = ("width", "height", "megapixels", "aspect", "mode", "bytes", "bytes_per_megapixel", "jpeg_quality")


def header_facts(manifest: pd.DataFrame, published: Path | None) -> pd.DataFrame:
    """Return the header facts of images, as they were when the dataset was published.

    A resized copy has lost the width, size in bytes and often the quality of its originals, though traces of them
    (blur, block noise) stay in its pixels. Where a table of the published files exists, it is what counts.

    Args:
        manifest: one row per image with a ``path`` such as ``train/NORMAL/IM-0115-0001.jpeg``; without a table of
            published files also ``width``, ``height``, ``mode``, ``bytes`` and ``jpeg_quality`` as
            `manifest.build` writes them.
        published: table of the published files (data/kermany-files.csv), found by their name, which is unique in the
            whole dataset; None for images that have none.

    Returns:
        As many rows in the same order, indexed by ``path``: ``width`` and ``height`` in pixels, ``megapixels``,
        ``aspect`` (width by height), ``mode`` (Pillow's), ``bytes``, ``bytes_per_megapixel``, ``jpeg_quality`` (1 to
        100, NaN where a file is no JPEG).

    Raises:
        DataError: an image has no facts, or the manifest lacks their columns.
    """
    facts = _recorded(manifest) if published is None else _published(manifest, published)
    facts.index = pd.Index(manifest["path"], name="path")
    unknown = facts[["width", "height", "bytes"]].isna().any(axis=1)
    if unknown.any():
        raise DataError(
            f"Expected width, height and bytes of every image in {published or 'the manifest'}, but {unknown.sum()} "
            f"have none, for example {facts.index[unknown.to_numpy()][0]}. Leave out unreadable images; for images "
            "that are not of the published dataset, give its table no more."
        )
    sizes = facts[["width", "height", "bytes"]].astype("int64")
    megapixels = sizes["width"] * sizes["height"] / 1e6
    return facts.assign(
        **sizes,
        jpeg_quality=facts["jpeg_quality"].astype("float64"),
        megapixels=megapixels,
        aspect=sizes["width"] / sizes["height"],
        bytes_per_megapixel=sizes["bytes"] / megapixels,
    )[list(COLUMNS)]


def _recorded(manifest: pd.DataFrame) -> pd.DataFrame:
    missing = set(READ) - set(manifest.columns)
    if missing:
        raise DataError(
            f"Expected the columns {', '.join(READ)} in the manifest, but {', '.join(sorted(missing))} is missing. "
            "Read artifacts/manifest.parquet, which `dvc repro validate` writes."
        )
    return manifest[list(READ)].copy()


def _published(manifest: pd.DataFrame, table: Path) -> pd.DataFrame:
    try:
        listed = pd.read_csv(table).set_index("filename")[list(READ)]
    except FileNotFoundError:
        raise DataError(f"{table} is missing. Restore it with git.") from None
    return listed.reindex(manifest["path"].str.split("/").str[-1])
