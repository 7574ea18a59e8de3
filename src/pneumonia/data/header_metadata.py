"""Header metadata of the images: properties of a file that are read without its pixels."""

from pathlib import Path

import pandas as pd

from pneumonia.core.errors import DataError

MANIFEST_COLUMNS = ("width", "height", "mode", "bytes", "jpeg_quality")
COLUMNS = ("width", "height", "megapixels", "aspect", "mode", "bytes", "bytes_per_megapixel", "jpeg_quality")


def header_metadata(manifest: pd.DataFrame, published: Path | None) -> pd.DataFrame:
    """Return the header metadata of images, as they were when the dataset was published.

    A resized copy has lost the width, size in bytes and often the JPEG quality of its originals, although traces of
    them (blur, block noise) remain in its pixels. Where a table of the published files exists, its values are used.

    Args:
        manifest: one row per image with a ``path`` such as ``train/NORMAL/IM-0115-0001.jpeg``; without a table of
            published files also `MANIFEST_COLUMNS`, as `manifest.build` writes them.
        published: table of the published files (data/kermany-files.csv), whose names are unique in the whole dataset;
            None for images that are not of a published dataset.

    Returns:
        As many rows in the same order, indexed by ``path``: ``width`` and ``height`` in pixels, ``megapixels``,
        ``aspect`` (width / height), ``mode`` (Pillow's), ``bytes``, ``bytes_per_megapixel``, ``jpeg_quality`` (1 to
        100, NaN for files that are not JPEG).

    Raises:
        DataError: an image has no metadata, or the manifest lacks a column.

    Examples:
        >>> rows = {"path": ["a.png"], "width": 400, "height": 200, "mode": "L", "bytes": 4000, "jpeg_quality": None}
        >>> header_metadata(pd.DataFrame(rows), None).loc["a.png", ["aspect", "megapixels"]].to_dict()
        {'aspect': 2.0, 'megapixels': 0.08}
    """
    table = _from_manifest(manifest) if published is None else _from_published(manifest, published)
    table.index = pd.Index(manifest["path"], name="path")
    missing = table[["width", "height", "bytes"]].isna().any(axis=1)
    if missing.any():
        raise DataError(
            f"Expected width, height and bytes of every image in {published or 'the manifest'}, but {missing.sum()} "
            f"have none, for example {table.index[missing.to_numpy()][0]}. Leave out unreadable images; for images "
            "that are not of the published dataset, do not pass its table."
        )
    sizes = table[["width", "height", "bytes"]].astype("int64")
    megapixels = sizes["width"] * sizes["height"] / 1e6
    return table.assign(
        **sizes,
        jpeg_quality=table["jpeg_quality"].astype("float64"),
        megapixels=megapixels,
        aspect=sizes["width"] / sizes["height"],
        bytes_per_megapixel=sizes["bytes"] / megapixels,
    )[list(COLUMNS)]


def write(path: Path, splits: pd.DataFrame, manifest: pd.DataFrame, published: Path | None) -> None:
    """Write the header metadata of the images of ``splits`` (in their order) as Parquet.

    Args:
        path: file to write, artifacts/header_metadata.parquet.
        splits: one row per image with a ``path``.
        manifest: as for `header_metadata`; rows of other images are ignored.
        published: as for `header_metadata`.

    Raises:
        DataError: as for `header_metadata`.
    """
    rows = manifest.set_index("path").loc[splits["path"]].reset_index()
    header_metadata(rows, published).to_parquet(path)


def _from_manifest(manifest: pd.DataFrame) -> pd.DataFrame:
    missing = set(MANIFEST_COLUMNS) - set(manifest.columns)
    if missing:
        raise DataError(
            f"Expected the columns {', '.join(MANIFEST_COLUMNS)} in the manifest, but {', '.join(sorted(missing))} is "
            "missing. Read artifacts/manifest.parquet, which `dvc repro validate` writes."
        )
    return manifest[list(MANIFEST_COLUMNS)].copy()


def _from_published(manifest: pd.DataFrame, table: Path) -> pd.DataFrame:
    try:
        listed = pd.read_csv(table).set_index("filename")[list(MANIFEST_COLUMNS)]
    except FileNotFoundError:
        raise DataError(f"{table} is missing. Restore it with git.") from None
    return listed.reindex(manifest["path"].str.split("/").str[-1])
