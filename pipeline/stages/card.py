"""Stage *card*: write the model card of the registered model from the reports of the other stages."""

from pipeline import stage
from pipeline.params import Params
from pneumonia.audit.audit_report import DataAudit, ModelAudit
from pneumonia.bundle import bundle as bundles
from pneumonia.core import files, paths
from pneumonia.data import definition
from pneumonia.evaluation.comparison_report import ComparisonReport
from pneumonia.evaluation.evaluation_report import EvaluationReport
from pneumonia.registry.registration_report import Registration
from pneumonia.reports import model_card


def main(_: Params) -> None:
    """Write the page."""
    model = files.read_json(paths.REGISTRATION, Registration).model
    card = bundles.read(paths.BUNDLES / model).card
    page = model_card.render(
        card,
        files.read_json(paths.EVALUATION_REPORTS / f"{model}.json", EvaluationReport),
        files.read_json(paths.DATA_AUDIT, DataAudit),
        files.read_json(paths.MODEL_AUDITS / f"{model}.json", ModelAudit),
        files.read_json(paths.COMPARISON, ComparisonReport),
        published=definition.load(paths.DATASET_DEFINITION) if card.data.source == "kermany" else None,
    )
    files.write_text(paths.MODEL_CARD, page)
    print(f"Model card of {model}: {paths.MODEL_CARD}")


if __name__ == "__main__":
    stage.run(main)
