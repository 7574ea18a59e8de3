"""Sections of the model card with the metrics of a model and its comparison with other models."""

from collections.abc import Iterator, Mapping

from pneumonia.core.estimate import Estimate
from pneumonia.core.labels import CLASS_NAMES
from pneumonia.core.markdown import head, interval, row
from pneumonia.evaluation.comparison_report import ComparisonReport
from pneumonia.evaluation.evaluation_report import EvaluationReport, SliceReport, SubsetReport
from pneumonia.reports.model_card_text import METRICS, METRICS_OF_SLICES, METRICS_OUTSIDE_BAND

UNDEFINED = "–"


def metrics_section(evaluation: EvaluationReport) -> str:
    """Return the section on metrics, predictive values, calibration and slices."""
    bootstrap, subsets = evaluation.bootstrap, evaluation.subsets
    lines = [
        "## Metrics",
        "",
        f"In brackets {bootstrap.level:.0%} intervals from a bootstrap over patients "
        f"({bootstrap.resamples:,} resamples); a figure without brackets has no defined interval.",
        "",
        *_metrics_table(subsets),
        "",
        "*Outside the band*: images that are not indeterminate.",
        "",
        "### Predictive values",
        "",
        "The share of PNEUMONIA decisions (PPV) and of NORMAL decisions (NPV) that are correct at a given prevalence "
        "of pneumonia, with the sensitivity and specificity of the test set and a decision for every image.",
        "",
        *_predictive_table(subsets["test"].predictive_values),
        "",
        "### Calibration",
        "",
        "Agreement of probabilities and outcomes, before and after calibration; lower is better. ECE: expected "
        "calibration error.",
        "",
        *_calibration_table(subsets),
        "",
        "### Slices of the test set",
        "",
        "A cause is its pneumonia with all NORMAL images; sizes are thirds of the development images.",
        "",
        *_slice_table(subsets["test"].slices),
        "",
    ]
    return "\n".join(lines)


def comparison_section(name: str, comparison: ComparisonReport) -> str:
    """Return the section on the differences from the other models; empty where the model was not compared."""
    reference, others = comparison.reference, comparison.models
    if name not in (reference, *others):
        return ""
    rule = comparison.selected_by
    selected = f", which has the highest {rule.metric} on {rule.subset}" if rule else ""
    shown = others if name == reference else {name: others[name]}
    if not shown:
        return ""
    lines = [
        "## Comparison with other models",
        "",
        f"Reference: `{reference}`{selected}. Differences are model less reference, on the same images and "
        "resamples; p is the p value of DeLong's test of equal AUC.",
        "",
        *head("model", "subset", *(METRICS[metric] for metric in METRICS_OF_SLICES), "p"),
    ]
    for model, subsets in shown.items():
        for subset, pair in subsets.items():
            p = UNDEFINED if pair.delong.p is None else f"{pair.delong.p:.2g}"
            differences = (_figure(pair.differences, metric) for metric in METRICS_OF_SLICES)
            lines.append(row(f"`{model}`", subset, *differences, p))
    return "\n".join([*lines, ""])


def _metrics_table(subsets: Mapping[str, SubsetReport]) -> Iterator[str]:
    yield from head("", *subsets)
    for metric, title in METRICS.items():
        yield row(title, *(_figure(subset.figures, metric) for subset in subsets.values()))
    yield row("share outside the band", *(interval(subset.band.coverage) for subset in subsets.values()))
    for metric in METRICS_OUTSIDE_BAND:
        cells = (_figure(subset.band.figures, metric) for subset in subsets.values())
        yield row(f"{METRICS[metric]}, outside the band", *cells)


def _predictive_table(by_prevalence: Mapping[str, Mapping[str, Estimate]]) -> Iterator[str]:
    yield from head("prevalence", "PPV", "NPV")
    for prevalence, values in by_prevalence.items():
        yield row(f"{float(prevalence):.0%}", _figure(values, "ppv"), _figure(values, "npv"))


def _calibration_table(subsets: Mapping[str, SubsetReport]) -> Iterator[str]:
    yield from head("", "log loss", "Brier score", "ECE")
    for name, subset in subsets.items():
        for when, quality in (("before", subset.calibration.before), ("after", subset.calibration.after)):
            figures = (quality.loss, quality.brier, quality.ece)
            yield row(f"{name}, {when}", *(f"{figure:.3f}" for figure in figures))


def _slice_table(slices: Mapping[str, Mapping[str, SliceReport]]) -> Iterator[str]:
    titles = (METRICS[metric] for metric in METRICS_OF_SLICES)
    yield from head("slice", "images NORMAL / PNEUMONIA", "patients", *titles, "warning")
    for kind, by_name in slices.items():
        for name, report in by_name.items():
            figures = (_figure(report.figures, metric) for metric in METRICS_OF_SLICES)
            counts = (
                " / ".join(f"{unit[label]:,}" for label in CLASS_NAMES) for unit in (report.images, report.patients)
            )
            yield row(f"{kind}: {name}", *counts, *figures, report.warning or "")


def _figure(figures: Mapping[str, Estimate], name: str) -> str:
    return interval(figures[name]) if name in figures else UNDEFINED
