"""Expectations of the dataset: a Great Expectations suite on the manifest, and its Data Docs."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from pneumonia.core.labels import CAUSES, CLASS_NAMES, POSITIVE, RELEASE_SPLITS
from pneumonia.data.dataset_reports import ExpectationResult, QuarantinedFile, ValidationReport
from pneumonia.data.manifest import DTYPES
from pneumonia.data.settings import ValidateParams

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read at import: no telemetry unless it is asked for

import great_expectations as gx
from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
from great_expectations.expectations.row_conditions import Column
from great_expectations.render.renderer import ExpectationSuitePageRenderer, ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView

ASSETS = Path(__file__).parent / "data_docs"
LOGO = Path(gx.__file__).parent / "render" / "view" / "static" / "images" / "logo-long.png"
FILES_SHOWN = 10
"""Offending files that a result names; the rest are counted."""

UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
FIX = "fix"
"""Key of the metadata of an expectation that says how to fix a failure."""

Json = dict[str, Any]


def validate(
    manifest: pd.DataFrame, params: ValidateParams, expected_counts: dict[str, dict[str, int]], docs: Path
) -> ValidationReport:
    """Validate the manifest with the suite, and write its Data Docs: HTML pages that open offline.

    Args:
        manifest: as `manifest.build` returns it.
        params: limits for sizes, unreadable files and class balance.
        expected_counts: files by release split and label, as the download recorded them.
        docs: folder for the pages; ``index.html`` has the results, ``suite.html`` the suite. The same dataset gives
            the same bytes: the pages hold no date.

    Returns:
        The report; ``success`` is False for a dataset that failed.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    suite = context.suites.add(_suite(manifest, params, expected_counts))
    batch = context.data_sources.add_pandas("raw").add_dataframe_asset("manifest")
    definition = gx.ValidationDefinition(
        name="manifest", data=batch.add_batch_definition_whole_dataframe("files"), suite=suite
    )
    outcome = definition.run(
        batch_parameters={"dataframe": _with_derived_columns(manifest)},
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["path"]},
    ).to_json_dict()
    results = tuple(_result(result) for result in outcome["results"])
    success = all(result.success for result in results if result.severity == "critical")
    _write_docs(_without_dates(outcome) | {"success": success}, suite, docs)  # its own success counts warnings
    return ValidationReport(
        success=success,
        results=results,
        quarantined=_quarantined(manifest),
        duplicates=_duplicates(manifest),
        counts=_counts(manifest),
    )


def _with_derived_columns(manifest: pd.DataFrame) -> pd.DataFrame:
    usable = manifest[manifest["problem"] == ""]
    in_test = usable["release_split"].eq("test")
    return manifest.assign(
        short_side=manifest[["width", "height"]].min(axis=1).astype("float64"),
        pneumonia=manifest["label"].eq(POSITIVE).astype("int64"),
        sides_of_patient=in_test.groupby(usable["patient"]).transform("nunique").astype("float64"),
        copies=usable.groupby("sha256")["path"].transform("size").astype("float64"),
    )


def _suite(manifest: pd.DataFrame, params: ValidateParams, expected_counts: dict[str, dict[str, int]]) -> Any:
    expect = gx.expectations
    total = sum(sum(labels.values()) for labels in expected_counts.values())
    expectations = [
        expect.ExpectTableColumnsToMatchSet(
            column_set=[*DTYPES, "short_side", "pneumonia", "sides_of_patient", "copies"],
            exact_match=True,
            description="The manifest has its columns.",
            meta={FIX: "Run the validate stage again."},
        ),
        expect.ExpectTableRowCountToEqual(
            value=total,
            description=f"There are {total} files, as the download recorded.",
            meta={FIX: "Run the download stage again."},
        ),
        *_count_expectations(expected_counts),
        *_balance_expectations(sorted(manifest["release_split"].unique()), params.minimum_class_share),
        expect.ExpectColumnValuesToBeInSet(
            column="release_split",
            value_set=list(RELEASE_SPLITS),
            description=f"Split folders are {', '.join(RELEASE_SPLITS)}.",
            meta={FIX: "Rename the other folders."},
        ),
        expect.ExpectColumnValuesToBeInSet(
            column="label",
            value_set=list(CLASS_NAMES),
            description=f"Class folders are {', '.join(CLASS_NAMES)}.",
            meta={FIX: "Rename the other folders."},
        ),
        expect.ExpectColumnValuesToBeInSet(
            column="cause",
            value_set=list(CAUSES),
            description=f"Causes are {', '.join(CAUSES)}.",
            meta={FIX: "Check the file names."},
        ),
        expect.ExpectColumnValuesToBeUnique(
            column="path",
            description="Each file is listed once.",
            meta={FIX: "Run the download stage again."},
        ),
        expect.ExpectColumnValuesToBeInSet(
            column="problem",
            value_set=[""],
            mostly=1 - params.maximum_quarantined,
            description=f"At most {params.maximum_quarantined:.2%} of the files are unusable.",
            meta={FIX: "Replace or remove these files, or raise validate.maximum_quarantined in params.yaml."},
        ),
        expect.ExpectColumnValuesToBeBetween(
            column="short_side",
            min_value=params.minimum_pixels,
            description=f"Images have {params.minimum_pixels} pixels or more on the shorter side.",
            meta={FIX: "Replace or remove these files, or lower validate.minimum_pixels in params.yaml."},
        ),
        expect.ExpectColumnValuesToBeBetween(
            column="sides_of_patient",
            max_value=1,
            description="No patient is on both sides of the official split: test, and train with val.",
            meta={
                FIX: "Move all images of a patient to one side. If they are different patients, give them names "
                "that tell them apart, or a patients.csv."
            },
        ),
        expect.ExpectColumnValuesToBeBetween(
            column="copies",
            max_value=1,
            severity="warning",
            description="No two files are identical (a warning: the split keeps identical files together).",
            meta={FIX: "Remove the copies if they should not count twice."},
        ),
    ]
    return gx.ExpectationSuite("manifest", expectations=expectations)


def _count_expectations(expected_counts: dict[str, dict[str, int]]) -> list[Any]:
    return [
        gx.expectations.ExpectTableRowCountToEqual(
            value=count,
            row_condition=(Column("release_split") == split) & (Column("label") == label),
            description=f"{split}/{label} has {count} files, as the download recorded.",
            meta={FIX: "Run the download stage again."},
        )
        for split, labels in sorted(expected_counts.items())
        for label, count in sorted(labels.items())
    ]


def _balance_expectations(splits: list[str], minimum_share: float) -> list[Any]:
    return [
        gx.expectations.ExpectColumnMeanToBeBetween(
            column="pneumonia",
            min_value=minimum_share,
            max_value=1 - minimum_share,
            row_condition=Column("release_split") == split,
            description=f"The rarer class is {minimum_share:.0%} of {split} or more (observed: share of {POSITIVE}).",
            meta={FIX: "Add images of it, or lower validate.minimum_class_share in params.yaml."},
        )
        for split in splits
    ]


def _result(outcome: Json) -> ExpectationResult:
    config, result = outcome["expectation_config"], outcome["result"]
    offending = result.get("unexpected_index_list") or []
    return ExpectationResult(
        expectation=config["type"],
        column=config["kwargs"].get("column"),
        success=outcome["success"],
        severity=config["severity"],
        observed=_observed(outcome),
        details=f"{config['description']} {config['meta'][FIX]}",
        files=tuple(sorted(row["path"] for row in offending)[:FILES_SHOWN]),
    )


def _observed(outcome: Json) -> str:
    result = outcome["result"]
    if "unexpected_count" in result:
        return f"{result['unexpected_count']} of {result['element_count']} files break it"
    if "observed_value" in result:
        value = result["observed_value"]
        return f"{value:.4f}" if isinstance(value, float) else str(value)
    return f"an error: {outcome['exception_info']}"


def _quarantined(manifest: pd.DataFrame) -> tuple[QuarantinedFile, ...]:
    unusable = manifest[manifest["problem"] != ""]
    return tuple(
        QuarantinedFile(path=path, reason=problem)
        for path, problem in zip(unusable["path"], unusable["problem"], strict=True)
    )


def _duplicates(manifest: pd.DataFrame) -> tuple[tuple[str, ...], ...]:
    usable = manifest[manifest["problem"] == ""]
    groups = usable.groupby("sha256")["path"].apply(lambda paths: tuple(sorted(paths)))
    return tuple(sorted(paths for paths in groups if len(paths) > 1))


def _counts(manifest: pd.DataFrame) -> dict[str, dict[str, int]]:
    return {
        str(split): {str(label): int(size) for label, size in rows["label"].value_counts().sort_index().items()}
        for split, rows in manifest.groupby("release_split")
    }


def _without_dates(outcome: Json) -> Json:
    """Remove the times of the run from the metadata that the pages show."""
    meta = {key: value for key, value in outcome["meta"].items() if key not in ("run_id", "validation_time")}
    markers = {key: value for key, value in meta["batch_markers"].items() if key != "ge_load_time"}
    return outcome | {"meta": meta | {"batch_markers": markers}}


def _write_docs(outcome: Json, suite: Any, docs: Path) -> None:
    # Through JSON text, as Great Expectations does for its own store: the renderer fails on NumPy's floats.
    plain = expectationSuiteValidationResultSchema.load(json.loads(json.dumps(outcome)))
    pages = {
        "index.html": ValidationResultsPageRenderer(run_info_at_end=True).render(plain),
        "suite.html": ExpectationSuitePageRenderer().render(suite),
    }
    shutil.copytree(ASSETS, docs / "static", dirs_exist_ok=True)
    shutil.copy(LOGO, docs / "static")
    for name, page in pages.items():
        html = _numbered(_offline(DefaultJinjaPageView().render(page)))
        (docs / name).write_text(html, encoding="utf-8")


def _numbered(html: str) -> str:
    """Replace the random identifiers of collapsible lists by numbers, in the order of their first use."""
    numbers: dict[str, str] = {}
    return UUID.sub(lambda match: numbers.setdefault(match[0], str(len(numbers))), html)


def _offline(html: str) -> str:
    """Load the page's styles, scripts and images from ``static/`` instead of the internet."""
    local = (
        '<link rel="stylesheet" href="static/bootstrap.min.css">\n'
        '<link rel="stylesheet" href="static/icons.css">\n'
        '<script src="static/jquery.min.js"></script>\n'
        '<script src="static/bootstrap.min.js"></script>\n'
    )
    html = re.sub(
        r'<script src="https?://[^>]*></script>|<link [^>]*rel="(?:stylesheet|shortcut icon)"[^>]*>', "", html
    )
    html = re.sub(r"https://great-expectations-web-assets[^\"')]*", "static/logo-long.png", html)
    html = re.sub(r'href="[./]*/expectations/[^"]*"', 'href="suite.html"', html)
    html = re.sub(r'href="[./]*/index\.html"', 'href="index.html"', html)
    html = html.replace("@media (prefers-color-scheme: dark)", "@media not all")  # its dark theme is not included
    html = html.replace(" / __none__", "").replace("__none__", "not recorded")  # name and time of the run
    return html.replace('<meta charset="UTF-8">', f'<meta charset="UTF-8">\n{local}', 1)
