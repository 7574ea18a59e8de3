"""Reference statistics are read as they were written."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pneumonia.bundle import bundle as bundles
from pneumonia.bundle import reference
from pneumonia.core.errors import BundleError
from tests.support import bright

DATA = bundles.DataLineage("phantom", "", "0" * 64, {})


@pytest.fixture
def bundle(tmp_path: Path) -> bundles.Bundle:
    return bright.write_bundle(tmp_path / "bright", slope=0.01, data=DATA)


def test_reference_is_read_as_written(bundle: bundles.Bundle) -> None:
    written, read = bright.reference(0.0), reference.read(bundle)

    for part, other in ((written, read), (written.familiarity, read.familiarity)):
        for field in dataclasses.fields(part):
            if field.name != "familiarity":
                np.testing.assert_array_equal(getattr(part, field.name), getattr(other, field.name))


def test_equal_references_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        reference.write(bright.reference(0.0), tmp_path / name)

    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"no archive", "fewer"])
def test_other_file_is_refused(bundle: bundles.Bundle, content: bytes | str) -> None:
    if isinstance(content, bytes):
        bundle.reference_file.write_bytes(content)
    else:
        np.savez(bundle.reference_file, normal_evidence=np.zeros((2, 2)))

    with pytest.raises(BundleError, match=r"reference\.npz does not have the arrays .* Run `dvc repro -f calibrate`"):
        reference.read(bundle)


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.1), (0.49, 0.1), (0.5, 0.9), (1.0, 0.9)])
def test_share_is_that_of_the_bin_of_the_probability(probability: float, share: float) -> None:
    assert bright.reference(0.0).share_of_pneumonia(probability).share == share


def test_undefined_interval_is_none() -> None:
    whole = bright.reference(0.0)
    without_interval = dataclasses.replace(whole, bin_shares=np.array([[0.1, np.nan, np.nan], [0.9, 0.8, 0.95]]))

    assert without_interval.share_of_pneumonia(0.2) == reference.ObservedShare(0.1, None, None, 60)
    assert without_interval.share_of_pneumonia(0.8) == reference.ObservedShare(0.9, 0.8, 0.95, 40)
