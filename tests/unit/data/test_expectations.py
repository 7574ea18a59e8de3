import datetime
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from pneumonia.data import expectations
from pneumonia.data.dataset_reports import QuarantinedFile, ValidationReport
from pneumonia.data.manifest import DTYPES
from pneumonia.data.settings import ValidateParams

PARAMS = ValidateParams(minimum_pixels=100, maximum_quarantined=0.1, minimum_class_share=0.2)
COUNTS = {"test": {"NORMAL": 2, "PNEUMONIA": 3}, "train": {"NORMAL": 5, "PNEUMONIA": 10}}


def healthy() -> pd.DataFrame:
    """Twenty images of twenty patients."""
    rows = [
        {
            "path": f"{split}/{label}/{split}{number}.jpeg",
            "sha256": f"{split}-{label}-{number}",
            "bytes": 1000,
            "format": "JPEG",
            "width": 224,
            "height": 224,
            "mode": "L",
            "jpeg_quality": 75.0,
            "release_split": split,
            "label": label,
            "cause": "normal" if label == "NORMAL" else "bacteria",
            "patient": f"{split}-{label}-{number}",
            "problem": "",
        }
        for split, labels in COUNTS.items()
        for label, count in labels.items()
        for number in range(count)
    ]
    return pd.DataFrame(rows, columns=list(DTYPES)).astype(DTYPES)


def validated(manifest: pd.DataFrame, docs: Path, params: ValidateParams = PARAMS) -> ValidationReport:
    return expectations.validate(manifest, params, COUNTS, docs)


def failed(report: ValidationReport) -> list[str | None]:
    return [result.column for result in report.results if not result.success]


def test_a_healthy_dataset_passes(tmp_path: Path) -> None:
    report = validated(healthy(), tmp_path)

    assert report.success
    assert failed(report) == []
    assert report.quarantined == ()
    assert report.duplicates == ()
    assert report.counts == COUNTS
    assert report.failures() == ""


def test_a_few_unusable_files_are_quarantined(tmp_path: Path) -> None:
    manifest = healthy()
    manifest.loc[0, ["width", "height", "problem"]] = [pd.NA, pd.NA, "empty file"]

    report = validated(manifest, tmp_path)

    assert report.success
    assert report.quarantined == (QuarantinedFile(path=manifest["path"][0], reason="empty file"),)


def test_too_many_unusable_files_fail(tmp_path: Path) -> None:
    manifest = healthy()
    manifest.loc[:2, "problem"] = "empty file"

    report = validated(manifest, tmp_path)

    assert failed(report) == ["problem"]
    assert not report.success
    assert "3 of 20" in report.failures()
    assert manifest["path"][0] in report.failures()
    assert "validate.maximum_quarantined" in report.failures()


def test_too_small_images_fail_by_their_shorter_side(tmp_path: Path) -> None:
    manifest = healthy()
    manifest.loc[4, "height"] = 99

    report = validated(manifest, tmp_path)

    assert failed(report) == ["short_side"]
    assert manifest["path"][4] in report.failures()


def test_files_that_the_download_did_not_record_fail(tmp_path: Path) -> None:
    report = validated(healthy().iloc[1:], tmp_path)

    assert not report.success
    assert "test/NORMAL has 2 files" in report.failures()
    assert "Observed: 1" in report.failures()


def test_a_rare_class_fails(tmp_path: Path) -> None:
    strict = PARAMS.model_copy(update={"minimum_class_share": 0.35})

    report = validated(healthy(), tmp_path, strict)

    assert failed(report) == ["pneumonia"]  # of train, where it is a third; in test it is 2 of 5
    assert "validate.minimum_class_share" in report.failures()


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_patient_on_both_sides_of_the_official_split_fails(tmp_path: Path, split: str) -> None:
    manifest = healthy()
    manifest.loc[7, "release_split"] = split
    manifest.loc[[1, 7], "patient"] = "leak"

    report = validated(manifest, tmp_path)

    assert "sides_of_patient" in failed(report)
    assert manifest["path"][1] in report.failures()
    assert manifest["path"][7] in report.failures()


def test_a_patient_in_train_and_val_is_no_leak(tmp_path: Path) -> None:
    manifest = healthy()
    manifest.loc[7, "release_split"] = "val"
    manifest.loc[[7, 8], "patient"] = "same"

    assert "sides_of_patient" not in failed(validated(manifest, tmp_path))


def test_duplicates_are_reported_but_do_not_fail(tmp_path: Path) -> None:
    manifest = healthy()
    manifest.loc[[6, 9], "sha256"] = "duplicate"

    report = validated(manifest, tmp_path)

    assert report.success
    assert failed(report) == ["copies"]
    assert report.duplicates == ((manifest["path"][6], manifest["path"][9]),)


def test_foreign_folders_and_repeated_paths_fail(tmp_path: Path) -> None:
    manifest = healthy()
    manifest.loc[5, "label"] = "COVID"
    manifest.loc[6, "release_split"] = "extra"
    manifest.loc[9, "path"] = manifest["path"][8]

    assert {"label", "release_split", "path"} <= set(failed(validated(manifest, tmp_path)))


@pytest.fixture
def shift_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[datetime.datetime]]:
    """Set the clock of Great Expectations some days ahead; the list collects the times that it reads."""

    def shift(days: int) -> list[datetime.datetime]:
        times: list[datetime.datetime] = []

        class Shifted(datetime.datetime):
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
                times.append(datetime.datetime.now(tz) + datetime.timedelta(days=days))
                return times[-1]

        module = SimpleNamespace(datetime=Shifted, timezone=datetime.timezone)
        monkeypatch.setattr("great_expectations.core.validation_definition.datetime", module)
        monkeypatch.setattr("great_expectations.execution_engine.pandas_execution_engine.datetime", module)
        return times

    return shift


@pytest.mark.parametrize("unexpected", [0, 1])
def test_report_and_data_docs_are_the_same_bytes_on_another_day(
    unexpected: int, tmp_path: Path, shift_clock: Callable[[int], list[datetime.datetime]]
) -> None:
    """Also with unexpected values, whose lists have random identifiers in Great Expectations."""
    listed = healthy()
    listed.loc[: unexpected - 1, "width"] = 1
    written = []
    for days in (0, 400):
        folder = tmp_path / f"{days} days"
        times = shift_clock(days)
        report = validated(listed, folder).model_dump_json()
        pages = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        written.append((report, pages))

        assert len(times) >= 2
        assert all(f"{moment:%Y-%m-%d}".encode() not in pages["index.html"] for moment in times)

    assert written[0] == written[1]
    assert str(tmp_path) not in written[0][0]


class PageResources(HTMLParser):
    """Collects the resources that a page loads, and its links."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "a":
            self.links.append(attributes.get("href") or "")
        else:
            self.loaded += [value for name in ("src", "href") if (value := attributes.get(name))]


@pytest.mark.parametrize("page", ["index.html", "suite.html"])
def test_data_docs_open_offline(tmp_path: Path, page: str) -> None:
    manifest = healthy()
    manifest.loc[4, "height"] = 99
    validated(manifest, tmp_path)

    html = (tmp_path / page).read_text(encoding="utf-8")
    parser = PageResources()
    parser.feed(html)

    assert {"static/bootstrap.min.css", "static/jquery.min.js", "static/logo-long.png"} <= set(parser.loaded)
    assert [place for place in parser.loaded if not (tmp_path / place).is_file()] == []
    assert "url('http" not in html
    local = [link for link in parser.links if link and not link.startswith(("#", "http"))]
    assert [link for link in local if not (tmp_path / link).is_file()] == []
    assert "Images have 100 pixels or more on the shorter side." in html


def test_data_docs_show_success_where_only_a_warning_fails(tmp_path: Path) -> None:
    manifest = healthy()
    manifest.loc[[6, 9], "sha256"] = "duplicate"
    validated(manifest, tmp_path)

    assert "Succeeded" in (tmp_path / "index.html").read_text(encoding="utf-8")
