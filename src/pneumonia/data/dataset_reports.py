"""Reports of the stages that make the dataset: download, validate and split."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from pneumonia.core.model import FrozenModel

LabelCounts = dict[str, dict[str, NonNegativeInt]]
"""Number of files as ``{release split: {label: n}}``."""


class SourceRecord(FrozenModel):
    """Report of the download stage: the source that a dataset was made from.

    Attributes:
        source: ``kermany``, ``phantom``, ``folder`` or ``zip``.
        release: name of the release, or of the folder or zip; None for phantoms.
        sha256: checksum of the archive; for folders and phantoms, of the list of their files (`checksum.of_folder`).
        files: number of images.
        counts: number of images as ``{split: {label: n}}``.
        full_size: whether the images have their original pixels; None where that is unknown.
        missing: file names of the dataset definition that the release lacks.
        ignored: number of files that were left out because they are not images in class folders.
        patients_file: whether the source has a patients.csv.
    """

    source: Literal["kermany", "phantom", "folder", "zip"]
    release: str | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    files: NonNegativeInt
    counts: LabelCounts
    full_size: bool | None
    missing: tuple[str, ...]
    ignored: NonNegativeInt
    patients_file: bool


class ExpectationResult(FrozenModel):
    """Result of one expectation of the validate stage.

    Attributes:
        expectation: Great Expectations' name of its type, such as ``expect_column_values_to_be_unique``.
        column: column that it checks; None for the whole table.
        success: whether it is met.
        severity: ``critical`` fails the dataset, ``warning`` is only reported.
        observed: observed value, or number of offending files.
        details: the expectation in words, and how to fix a failure.
        files: the first offending files, where the expectation is about single files.
    """

    expectation: str
    column: str | None
    success: bool
    severity: str
    observed: str
    details: str
    files: tuple[str, ...]


class QuarantinedFile(FrozenModel):
    """A file that cannot be used, and the reason."""

    path: str
    reason: str


class ValidationReport(FrozenModel):
    """Report of the validate stage.

    Attributes:
        success: whether every critical expectation is met.
        results: one per expectation.
        quarantined: files that cannot be used.
        duplicates: groups of byte-identical files (paths).
        counts: files by release split and label, including the quarantined ones.
    """

    success: bool
    results: tuple[ExpectationResult, ...]
    quarantined: tuple[QuarantinedFile, ...]
    duplicates: tuple[tuple[str, ...], ...]
    counts: LabelCounts

    def failures(self) -> str:
        """Describe each critical expectation that is not met: expected, observed, how to fix it, first files."""
        failed = [result for result in self.results if not result.success and result.severity == "critical"]
        return "\n".join(
            "\n    ".join(
                [f"  {result.expectation}: expected: {result.details} Observed: {result.observed}", *result.files]
            )
            for result in failed
        )


class SplitReport(FrozenModel):
    """Report of the split stage.

    Attributes:
        images: number of images as ``{subset: {label: {cause: n}}}``.
        groups: number of patient groups by subset.
        folds: number of development images by fold.
        test_origin: sentence on the origin of the test subset.
    """

    images: dict[str, dict[str, dict[str, NonNegativeInt]]]
    groups: dict[str, NonNegativeInt]
    folds: dict[str, NonNegativeInt]
    test_origin: str
