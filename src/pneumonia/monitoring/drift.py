"""Evidently report of a window: distributions and drift of each column in one HTML file that works offline.

Evidently does not decide what has drifted: the p-values of `monitoring.detection` are registered as a custom Evidently
test, so that plots, tests and alert agree.
"""

import html
import os
import re
import warnings
from pathlib import Path

import pandas as pd

from pneumonia.core import files
from pneumonia.monitoring.detection import CATEGORIES, COMPARED, NUMERICAL, DriftTest, with_distance

TEST = "pneumonia_report_test"
TEST_NAME = "1 - adjusted p-value"
"""Evidently sorts by the largest score, so that columns that have changed come first."""
PLOTTED = 5000
"""Largest number of predictions in the plots; the test uses all of them."""
SEED = 1
BODY = re.compile("<body[^>]*>")
STYLE = "font:16px/1.5 system-ui,sans-serif;white-space:pre-wrap;margin:1.5rem"


def write_html(test: DriftTest, reference: pd.DataFrame, window: pd.DataFrame, file: Path, heading: str) -> None:
    """Write the Evidently report as one HTML file of about 4 MB.

    Args:
        test: drift test of the same reference and window.
        reference: columns `detection.LOGGED`.
        window: columns `detection.LOGGED`; a random sample of `PLOTTED` predictions is plotted.
        file: HTML file to write.
        heading: summary at the top of the page, plain text.
    """
    os.environ.setdefault("DO_NOT_TRACK", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Evidently uses names that NumPy and pandas have renamed
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset, DataSummaryPreset

        _register(test)
        plotted = window.sample(PLOTTED, random_state=SEED) if len(window) > PLOTTED else window
        reference, plotted = _evidently_types(reference), _evidently_types(plotted)
        columns = [name for name in COMPARED if reference[name].notna().any() and plotted[name].notna().any()]
        definition = DataDefinition(
            numerical_columns=[name for name in columns if name not in CATEGORIES],
            categorical_columns=[name for name in columns if name in CATEGORIES],
        )
        expected, observed = (
            Dataset.from_pandas(frame[columns], data_definition=definition) for frame in (reference, plotted)
        )
        report = Report(
            [
                DataDriftPreset(
                    columns=columns,
                    method=TEST,
                    threshold=1 - test.false_alarm_rate,
                    drift_share=0.5 / len(columns),
                ),
                DataSummaryPreset(columns=columns),
            ],
            include_tests=False,
        )
        page = report.run(observed, expected).get_html_str(as_iframe=False)
    text = html.escape(f"{heading}\nPlots: {len(plotted)} of {len(window)} predictions. The test uses all of them.")
    files.write_text(file, BODY.sub(lambda body: f"{body[0]}<pre style='{STYLE}'>{text}</pre>", page, 1))


def _register(test: DriftTest) -> None:
    """Register the p-values of a drift test as a custom statistical test of Evidently."""
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    p_values = {column.column: column.p_value for column in test.columns}

    def score(_: pd.Series, current: pd.Series, __: object, threshold: float) -> tuple[float, bool]:
        confidence = 1 - p_values[str(current.name)]
        return confidence, confidence >= threshold

    register_stattest(StatTest(TEST, TEST_NAME, [ColumnType.Numerical, ColumnType.Categorical]), score)


def _evidently_types(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the compared columns in the types that Evidently supports."""
    categories = {name: frame[name].fillna("none").astype("object") for name in CATEGORIES}
    return with_distance(frame[[*CATEGORIES, *NUMERICAL]]).assign(**categories)
