"""What the dataset must keep, as a Great Expectations suite on the manifest; the only module that knows that tool."""

import dataclasses
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pneumonia.config import ValidateParams
from pneumonia.data.manifest import DTYPES
from pneumonia.labels import CAUSES, CLASS_NAMES, POSITIVE, RELEASE_SPLITS

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read at import: nothing phones home unless asked to

import great_expectations as gx
from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
from great_expectations.expectations.row_conditions import Column
from great_expectations.render.renderer import ExpectationSuitePageRenderer, ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView

ASSETS = Path(__file__).parent / "data_docs"
LOGO = Path(gx.__file__).parent / "render" / "view" / "static" / "images" / "logo-long.png"
FILES_SHOWN = 10
"""Offending files that a result names; the rest are counted."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """The outcome of one expectation.

    Attributes:
        expectation: Great Expectations' name of its kind, such as ``expect_column_values_to_be_unique``.
        column: column it looks at, or None for the whole table.
        success: whether it holds.
        severity: ``critical`` fails the dataset, ``warning`` is only reported.
        observed: what was found.
        details: what is expected, in words, and how to mend it.
        files: the first offending files, where the expectation is about single files.
    """

    expectation: str
    column: str | None
    success: bool
    severity: str
    observed: str
    details: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """The verdict on a dataset.

    Attributes:
        success: whether every critical expectation holds.
        results: one for each expectation.
        quarantined: files that cannot be used, as ``{"path", "reason"}``.
        duplicates: groups of byte-identical files (paths).
        counts: files by release split and label, the quarantined ones included.
    """

    success: bool
    results: tuple[Result, ...]
    quarantined: tuple[dict[str, str], ...]
    duplicates: tuple[tuple[str, ...], ...]
    counts: dict[str, dict[str, int]]

    def to_json(self) -> Json:
        """Return the report as plain JSON types; the same dataset gives the same report."""
        return dataclasses.asdict(self)

    def failures(self) -> str:
        """Describe each critical expectation that does not hold: what was expected, what came, how to mend it."""
        failed = [result for result in self.results if not result.success and result.severity == "critical"]
        return "\n".join(
            "\n    ".join(
                [f"  {result.expectation}: expected: {result.details} Observed: {result.observed}", *result.files]
            )
            for result in failed
        )


def validate(
    manifest: pd.DataFrame, params: ValidateParams, expected_counts: dict[str, dict[str, int]], docs: Path
) -> Report:
    """Hold the manifest against the suite, and write its Data Docs as HTML that opens offline.

    Args:
        manifest: as ``manifest.build`` returns it.
        params: limits for sizes, unreadable files and class balance.
        expected_counts: files by release split and label, as the download recorded them.
        docs: folder for the pages; ``index.html`` has the results, ``suite.html`` the suite.

    Returns:
        The report, also of a dataset that failed: look at ``success``.
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
    )
    results = tuple(_result(facts) for facts in outcome.to_json_dict()["results"])
    success = all(result.success for result in results if result.severity == "critical")
    _write_docs(outcome.to_json_dict() | {"success": success}, suite, docs)  # its own verdict counts warnings
    return Report(
        success=success,
        results=results,
        quarantined=_quarantined(manifest),
        duplicates=_duplicates(manifest),
        counts=_counts(manifest),
    )


def _with_derived_columns(manifest: pd.DataFrame) -> pd.DataFrame:
    usable = manifest[manifest["problem"] == ""]
    side = usable["release_split"].eq("test")
    return manifest.assign(
        short_side=manifest[["width", "height"]].min(axis=1).astype("float64"),
        pneumonia=manifest["label"].eq(POSITIVE).astype("int64"),
        sides_of_patient=side.groupby(usable["patient"]).transform("nunique").astype("float64"),
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
            meta={"mend": "Run the validate stage again."},
        ),
        expect.ExpectTableRowCountToEqual(
            value=total,
            description=f"There are {total} files, as the download recorded.",
            meta={"mend": "Run the download stage again."},
        ),
        *_count_expectations(expected_counts),
        *_balance_expectations(sorted(manifest["release_split"].unique()), params.minimum_class_share),
        expect.ExpectColumnValuesToBeInSet(
            column="release_split",
            value_set=list(RELEASE_SPLITS),
            description=f"Split folders are {', '.join(RELEASE_SPLITS)}.",
            meta={"mend": "Rename the other folders."},
        ),
        expect.ExpectColumnValuesToBeInSet(
            column="label",
            value_set=list(CLASS_NAMES),
            description=f"Class folders are {', '.join(CLASS_NAMES)}.",
            meta={"mend": "Rename the other folders."},
        ),
        expect.ExpectColumnValuesToBeInSet(
            column="cause",
            value_set=list(CAUSES),
            description=f"Causes are {', '.join(CAUSES)}.",
            meta={"mend": "Check the file names."},
        ),
        expect.ExpectColumnValuesToBeUnique(
            column="path",
            description="Each file is listed once.",
            meta={"mend": "Run the download stage again."},
        ),
        expect.ExpectColumnValuesToBeInSet(
            column="problem",
            value_set=[""],
            mostly=1 - params.maximum_quarantined,
            description=f"At most {params.maximum_quarantined:.2%} of the files are unusable.",
            meta={"mend": "Replace or remove these files, or raise validate.maximum_quarantined in params.yaml."},
        ),
        expect.ExpectColumnValuesToBeBetween(
            column="short_side",
            min_value=params.minimum_pixels,
            description=f"Images have {params.minimum_pixels} pixels or more on the shorter side.",
            meta={"mend": "Replace or remove these files, or lower validate.minimum_pixels in params.yaml."},
        ),
        expect.ExpectColumnValuesToBeBetween(
            column="sides_of_patient",
            max_value=1,
            description="No patient is on both sides of the official split: test, and train with val.",
            meta={
                "mend": "Move all images of a patient to one side. If they are different patients, give them names "
                "that tell them apart, or a patients.csv."
            },
        ),
        expect.ExpectColumnValuesToBeBetween(
            column="copies",
            max_value=1,
            severity="warning",
            description="No two files are identical (a warning: the split keeps identical files together).",
            meta={"mend": "Remove the copies if they should not count twice."},
        ),
    ]
    return gx.ExpectationSuite("manifest", expectations=expectations)


def _count_expectations(expected_counts: dict[str, dict[str, int]]) -> list[Any]:
    return [
        gx.expectations.ExpectTableRowCountToEqual(
            value=count,
            row_condition=(Column("release_split") == split) & (Column("label") == label),
            description=f"{split}/{label} has {count} files, as the download recorded.",
            meta={"mend": "Run the download stage again."},
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
            meta={"mend": "Add images of it, or lower validate.minimum_class_share in params.yaml."},
        )
        for split in splits
    ]


def _result(facts: Json) -> Result:
    config, found = facts["expectation_config"], facts["result"]
    offending = found.get("unexpected_index_list") or []
    return Result(
        expectation=config["type"],
        column=config["kwargs"].get("column"),
        success=facts["success"],
        severity=config["severity"],
        observed=_observed(facts),
        details=f"{config['description']} {config['meta']['mend']}",
        files=tuple(sorted(row["path"] for row in offending)[:FILES_SHOWN]),
    )


def _observed(facts: Json) -> str:
    found = facts["result"]
    if "unexpected_count" in found:
        return f"{found['unexpected_count']} of {found['element_count']} files break it"
    if "observed_value" in found:
        value = found["observed_value"]
        return f"{value:.4f}" if isinstance(value, float) else str(value)
    return f"an error: {facts['exception_info']}"


def _quarantined(manifest: pd.DataFrame) -> tuple[dict[str, str], ...]:
    broken = manifest[manifest["problem"] != ""]
    return tuple(
        {"path": path, "reason": problem} for path, problem in zip(broken["path"], broken["problem"], strict=True)
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


def _write_docs(outcome: Json, suite: Any, docs: Path) -> None:
    # Through JSON text, as Great Expectations does for its own store: the renderer trips over NumPy's floats.
    plain = expectationSuiteValidationResultSchema.load(json.loads(json.dumps(outcome)))
    pages = {
        "index.html": ValidationResultsPageRenderer(run_info_at_end=True).render(plain),
        "suite.html": ExpectationSuitePageRenderer().render(suite),
    }
    shutil.copytree(ASSETS, docs / "static", dirs_exist_ok=True)
    shutil.copy(LOGO, docs / "static")
    for name, page in pages.items():
        (docs / name).write_text(_offline(DefaultJinjaPageView().render(page)), encoding="utf-8")


def _offline(html: str) -> str:
    """Take the page's styles, scripts and pictures from ``static/`` instead of the internet."""
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
    html = html.replace("@media (prefers-color-scheme: dark)", "@media not all")  # its dark theme is left out
    return html.replace('<meta charset="UTF-8">', f'<meta charset="UTF-8">\n{local}', 1)
