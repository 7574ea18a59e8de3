"""The Evidently report of a window: what changed, column by column, in one HTML file that needs no network.

The decision is not Evidently's but that of `monitoring.change`: its p-values are handed to Evidently as a test of our
own, so that pictures, tests and alert agree.
"""

import html
import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from pneumonia.monitoring.change import CATEGORIES, ORDERED, WATCHED, Comparison, with_distance

TEST = "of_the_whole_report"
SHOWN_AS = "1 - p of the whole report's test"
"""So that what has changed comes first: Evidently sorts by the largest."""
DRAWN = 5000
"""Predictions that pictures are made of, at most; the decision rests on all of them."""
SEED = 1
BODY = re.compile("<body[^>]*>")
STYLE = "font:16px/1.5 system-ui,sans-serif;white-space:pre-wrap;margin:1.5rem"


def write(
    comparison: Comparison, reference: pd.DataFrame, window: pd.DataFrame, file: Path, heading: str
) -> dict[str, Any]:
    """Write the report as HTML, and return it as Evidently's JSON.

    Args:
        comparison: of the same reference and window.
        reference: columns `change.LOGGED`.
        window: likewise; of a large one `DRAWN` predictions, drawn at random, make the pictures.
        file: for the HTML, about 4 MB.
        heading: what it comes to, in lines of plain text.
    """
    os.environ.setdefault("DO_NOT_TRACK", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Evidently uses names that NumPy and pandas have renamed
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset, DataSummaryPreset

        _register(comparison)
        drawn = window.sample(DRAWN, random_state=SEED) if len(window) > DRAWN else window
        reference, drawn = _plain(reference), _plain(drawn)
        columns = [name for name in WATCHED if reference[name].notna().any() and drawn[name].notna().any()]
        definition = DataDefinition(
            numerical_columns=[name for name in columns if name not in CATEGORIES],
            categorical_columns=[name for name in columns if name in CATEGORIES],
        )
        known, seen = (Dataset.from_pandas(frame[columns], data_definition=definition) for frame in (reference, drawn))
        report = Report(
            [
                DataDriftPreset(
                    columns=columns,
                    method=TEST,
                    threshold=1 - comparison.false_alarm_rate,
                    drift_share=0.5 / len(columns),
                ),
                DataSummaryPreset(columns=columns),
            ],
            include_tests=False,
        )
        snapshot = report.run(seen, known)
        page = snapshot.get_html_str(as_iframe=False)
        found: dict[str, Any] = json.loads(snapshot.json())
    told = html.escape(f"{heading}\nPictures: {len(drawn)} of {len(window)} predictions. The verdict rests on all.")
    file.write_text(BODY.sub(lambda body: f"{body[0]}<pre style='{STYLE}'>{told}</pre>", page, 1), encoding="utf-8")
    return found


def _register(comparison: Comparison) -> None:
    """Make what was decided a test of Evidently's."""
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    p_values = {column.column: column.p_value for column in comparison.columns}

    def decide(_: pd.Series, current: pd.Series, __: Any, threshold: float) -> tuple[float, bool]:
        sureness = 1 - p_values[str(current.name)]
        return sureness, sureness >= threshold

    test = StatTest(TEST, SHOWN_AS, [ColumnType.Numerical, ColumnType.Categorical])
    register_stattest(test, decide)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns in types that Evidently knows."""
    words = {name: frame[name].fillna("none").astype("object") for name in CATEGORIES}
    return with_distance(frame[[*CATEGORIES, *ORDERED]]).assign(**words)
