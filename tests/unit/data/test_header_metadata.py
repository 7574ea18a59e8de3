from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumonia.core.errors import DataError
from pneumonia.data.header_metadata import COLUMNS, header_metadata, write

PUBLISHED = Path(__file__).parents[3] / "data/kermany-files.csv"


def manifest(*paths: str) -> pd.DataFrame:
    """Metadata of the 224-pixel copy, which differs from that of the published files."""
    return pd.DataFrame(
        {"path": paths, "width": 224, "height": 112, "mode": "RGB", "bytes": 7381, "jpeg_quality": np.nan}
    )


def test_published_metadata_replaces_that_of_a_resized_copy() -> None:
    table = header_metadata(manifest("test/NORMAL/IM-0003-0001.jpeg", "test/NORMAL/IM-0001-0001.jpeg"), PUBLISHED)

    assert list(table.columns) == list(COLUMNS)
    assert list(table.index) == ["test/NORMAL/IM-0003-0001.jpeg", "test/NORMAL/IM-0001-0001.jpeg"]
    row = table.loc["test/NORMAL/IM-0001-0001.jpeg"]
    assert (row["width"], row["height"], row["bytes"], row["mode"], row["jpeg_quality"]) == (
        1857,
        1317,
        252680,
        "L",
        75.0,
    )
    assert row["megapixels"] == pytest.approx(2.445669)
    assert row["aspect"] == pytest.approx(1857 / 1317)
    assert row["bytes_per_megapixel"] == pytest.approx(252680 / 2.445669)


def test_a_path_alone_is_enough_and_val_images_are_found_in_train() -> None:
    """Kaggle's copy alone has a val folder; the table says val, other releases have the images in train."""
    published = pd.read_csv(PUBLISHED)
    name = published[published["split"] == "val"]["filename"].iloc[0]

    table = header_metadata(pd.DataFrame({"path": [f"train/NORMAL/{name}"]}), PUBLISHED)

    assert table["width"].item() == published.set_index("filename").loc[name, "width"]


def test_other_images_have_the_metadata_of_the_manifest() -> None:
    (row,) = header_metadata(manifest("train/NORMAL/mine.png"), None).to_dict("records")

    assert (row["width"], row["mode"], row["aspect"], row["megapixels"]) == (224, "RGB", 2.0, 0.025088)
    assert np.isnan(row["jpeg_quality"])


def test_an_image_without_metadata_is_named() -> None:
    with pytest.raises(DataError, match=r"1 have none, for example train/NORMAL/mine\.png"):
        header_metadata(manifest("test/NORMAL/IM-0001-0001.jpeg", "train/NORMAL/mine.png"), PUBLISHED)
    with pytest.raises(DataError, match=r"jpeg_quality.* is missing"):
        header_metadata(pd.DataFrame({"path": ["train/NORMAL/mine.png"]}), None)
    with pytest.raises(DataError, match=r"nowhere\.csv is missing"):
        header_metadata(manifest("a/b/c.png"), Path("nowhere.csv"))


def test_the_written_table_has_the_images_of_the_splits_in_their_order(tmp_path: Path) -> None:
    images = manifest("train/NORMAL/a.png", "train/NORMAL/b.png", "train/NORMAL/broken.png")
    images.loc[2, "width"] = None
    splits = pd.DataFrame({"path": ["train/NORMAL/b.png", "train/NORMAL/a.png"]})

    write(tmp_path / "metadata.parquet", splits, images, None)

    table = pd.read_parquet(tmp_path / "metadata.parquet")
    assert list(table.index) == list(splits["path"])
    pd.testing.assert_frame_equal(table, header_metadata(images.iloc[[1, 0]], None))
