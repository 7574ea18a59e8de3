from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumonia.data import facts
from pneumonia.errors import DataError

PUBLISHED = Path(__file__).parents[2] / "data/kermany-files.csv"


def manifest(*paths: str) -> pd.DataFrame:
    """Facts as the 224-pixel copy has them, which are not those of the published files."""
    return pd.DataFrame(
        {"path": paths, "width": 224, "height": 112, "mode": "RGB", "bytes": 7381, "jpeg_quality": np.nan}
    )


def test_published_facts_replace_those_of_a_resized_copy_in_the_order_of_the_manifest() -> None:
    found = facts.header_facts(manifest("test/NORMAL/IM-0003-0001.jpeg", "test/NORMAL/IM-0001-0001.jpeg"), PUBLISHED)

    assert list(found.columns) == list(facts.COLUMNS)
    assert list(found.index) == ["test/NORMAL/IM-0003-0001.jpeg", "test/NORMAL/IM-0001-0001.jpeg"]
    row = found.loc["test/NORMAL/IM-0001-0001.jpeg"]
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
    table = pd.read_csv(PUBLISHED)
    name = table[table["split"] == "val"]["filename"].iloc[0]

    found = facts.header_facts(pd.DataFrame({"path": [f"train/NORMAL/{name}"]}), PUBLISHED)

    assert found["width"].item() == table.set_index("filename").loc[name, "width"]


def test_own_images_have_the_facts_of_the_manifest() -> None:
    (row,) = facts.header_facts(manifest("train/NORMAL/mine.png"), None).to_dict("records")

    assert (row["width"], row["mode"], row["aspect"], row["megapixels"]) == (224, "RGB", 2.0, 0.025088)
    assert np.isnan(row["jpeg_quality"])


def test_an_image_without_facts_is_named() -> None:
    with pytest.raises(DataError, match=r"1 have none, for example train/NORMAL/mine\.png"):
        facts.header_facts(manifest("test/NORMAL/IM-0001-0001.jpeg", "train/NORMAL/mine.png"), PUBLISHED)
    with pytest.raises(DataError, match=r"jpeg_quality.* is missing"):
        facts.header_facts(pd.DataFrame({"path": ["train/NORMAL/mine.png"]}), None)
    with pytest.raises(DataError, match=r"nowhere\.csv is missing"):
        facts.header_facts(manifest("a/b/c.png"), Path("nowhere.csv"))
