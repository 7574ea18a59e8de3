"""Stage *compare*: select the best model on validation images, and compare the others with it."""

from collections.abc import Mapping

import pandas as pd

from pipeline import stage
from pipeline.params import Params
from pneumonia.audit import shortcut_figures, shortcuts_page
from pneumonia.audit.audit_report import DataAudit, ModelAudit
from pneumonia.core import files, paths
from pneumonia.evaluation import comparison, figures, selection
from pneumonia.evaluation.comparison_report import Selection
from pneumonia.evaluation.evaluation_report import EvaluationReport, MetricsReport
from pneumonia.evaluation.figures import Scores
from pneumonia.evaluation.prediction_table import read_predictions


def main(params: Params) -> None:
    """Write the comparison, the page on shortcuts and the figures of all models."""
    models = list(params.train.models)
    rule = Selection(metric=params.register_.metric, subset=params.register_.subset)
    metrics = {model: files.read_json(paths.METRICS / f"{model}.json", MetricsReport) for model in models}
    best = selection.select_best({model: metrics[model][rule.subset] for model in models}, rule.metric)
    predictions = {model: read_predictions(paths.PREDICTIONS / f"{model}.csv") for model in models}
    report = comparison.compare(predictions, best, params.evaluate.bootstrap, rule)
    files.write_json(paths.COMPARISON, report)

    data_audit = files.read_json(paths.DATA_AUDIT, DataAudit)
    audits = {model: files.read_json(paths.MODEL_AUDITS / f"{model}.json", ModelAudit) for model in models}
    files.write_text(paths.SHORTCUTS_PAGE, shortcuts_page.markdown(data_audit, audits))
    _draw(predictions, data_audit, audits, params.prepare.size)
    print(f"{best} has the best {rule.metric} on {rule.subset} images: {metrics[best][rule.subset][rule.metric]:.4f}")


def _draw(
    predictions: Mapping[str, pd.DataFrame], data_audit: DataAudit, audits: Mapping[str, ModelAudit], size: int
) -> None:
    reports = {
        model: files.read_json(paths.EVALUATION_REPORTS / f"{model}.json", EvaluationReport) for model in predictions
    }
    scores = {
        model: {subset: Scores.of(table, subset) for subset in reports[model].subsets}
        for model, table in predictions.items()
    }
    drawn = {
        "roc": figures.roc_figure(scores),
        "pr": figures.pr_figure(scores),
        "confusion": figures.confusion_figure(scores),
        "reliability": figures.reliability_figure({model: report.subsets for model, report in reports.items()}),
        "shortcuts_data": shortcut_figures.data_figure(data_audit),
        "shortcuts_models": shortcut_figures.model_figure(audits),
        "shortcuts_perturbations": shortcut_figures.perturbation_figure(size),
    }
    for name, figure in drawn.items():
        figures.save(figure, paths.MODEL_FIGURES / f"{name}.png")


if __name__ == "__main__":
    stage.run(main)
