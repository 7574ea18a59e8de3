import numpy as np
import pandas as pd
import pytest

from pneumonia.evaluation import slices

TARGETS = np.array([0, 0, 1, 1, 1])
CAUSES = np.array(["normal", "normal", "bacteria", "virus", "virus"])
METADATA = pd.DataFrame(
    {
        "megapixels": [3.0, 1.0, 0.5, 1.5, 2.0],
        "mode": ["L", "L", "RGB", "MONOCHROME2", "L"],
        "jpeg_quality": [95.5, 75.0, 75.0, np.nan, 89.2],
    }
)


def of(cuts: tuple[float, float] = (1.0, 2.0)) -> dict[str, dict[str, list[bool]]]:
    result = slices.slices(TARGETS, CAUSES, METADATA, cuts)
    return {kind: {name: mask.tolist() for name, mask in by_name.items()} for kind, by_name in result.items()}


def test_each_cause_includes_all_normal_images() -> None:
    assert of()["cause"] == {"bacteria": [True, True, True, False, False], "virus": [True, True, False, True, True]}


def test_sizes_follow_the_cuts_and_every_image_has_one() -> None:
    sizes = of()["size"]

    assert sizes["small"] == [False, True, True, False, False]
    assert sizes["medium"] == [False, False, False, True, True]
    assert np.sum(list(sizes.values()), axis=0).tolist() == [1] * 5


def test_cuts_make_thirds() -> None:
    lower, upper = slices.size_cuts(pd.DataFrame({"megapixels": np.arange(1, 301) / 100}))

    assert (lower, upper) == pytest.approx((302 / 300, 601 / 300))


def test_acquisition_slices_group_colour_mode_and_quality() -> None:
    groups = of()["acquisition"]

    assert {name: mask.index(True) for name, mask in groups.items()} == {
        "grey, quality from 95": 0,
        "grey, quality below 80": 1,
        "colour, quality below 80": 2,
        "grey, no JPEG": 3,
        "grey, quality 80 to 94": 4,
    }


def test_too_few_patients_give_a_warning() -> None:
    counts = slices.patients(np.array([0, 0, 0, 1, 1]), np.array([1, 1, 2, 3, 3]))

    assert counts == {"NORMAL": 2, "PNEUMONIA": 1}
    assert slices.warning(counts, 2) == "too few patients (1 of PNEUMONIA; expected 2)"
    assert slices.warning(counts, 1) is None
