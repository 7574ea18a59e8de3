"""What a bundle's answers are compared with is kept whole, and read as it was written."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pneumonia.errors import BundleError
from pneumonia.inference import reference
from pneumonia.models import bundle as bundles
from tests import bright

DATA = bundles.DataLineage("phantom", "", "0" * 64, {})


@pytest.fixture
def bundle(tmp_path: Path) -> bundles.Bundle:
    return bright.write_bundle(tmp_path / "bright", slope=0.01, data=DATA)


def test_what_is_written_is_read(bundle: bundles.Bundle) -> None:
    written, read = bright.reference(0.0), reference.read(bundle)

    for part, other in ((written, read), (written.familiarity, read.familiarity)):
        for field in dataclasses.fields(part):
            if field.name != "familiarity":
                np.testing.assert_array_equal(getattr(part, field.name), getattr(other, field.name))


def test_the_same_reference_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        reference.write(bright.reference(0.0), tmp_path / name)

    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"no archive", "fewer"])
def test_a_file_that_holds_something_else_is_refused(bundle: bundles.Bundle, content: bytes | str) -> None:
    if isinstance(content, bytes):
        bundle.reference_file.write_bytes(content)
    else:
        np.savez(bundle.reference_file, normal_evidence=np.zeros((2, 2)))

    with pytest.raises(BundleError, match=r"reference\.npz does not hold .* Train the model again"):
        reference.read(bundle)


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.1), (0.49, 0.1), (0.5, 0.9), (1.0, 0.9)])
def test_a_probability_means_the_share_of_its_bin(probability: float, share: float) -> None:
    assert bright.reference(0.0).share_of_pneumonia(probability).share == share


def test_an_interval_that_cannot_be_told_is_none() -> None:
    whole = bright.reference(0.0)
    unknown = dataclasses.replace(whole, bin_shares=np.array([[0.1, np.nan, np.nan], [0.9, 0.8, 0.95]]))

    assert unknown.share_of_pneumonia(0.2) == reference.Share(0.1, None, None, 60)
    assert unknown.share_of_pneumonia(0.8) == reference.Share(0.9, 0.8, 0.95, 40)
