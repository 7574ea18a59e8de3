"""The reports on one model that the gate reads, from reports/ or from the artifacts of an MLflow run."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pneumonia.audit.audit_report import DataAudit, ModelAudit
from pneumonia.core import paths
from pneumonia.core.errors import EvidenceError
from pneumonia.core.files import read_json
from pneumonia.evaluation.evaluation_report import EvaluationReport
from pneumonia.evaluation.prediction_table import read_predictions
from pneumonia.evaluation.settings import BootstrapParams
from pneumonia.registry.registration_report import Registration


@dataclass(frozen=True)
class Evidence:
    """The reports on a registered model.

    Attributes:
        registration: which model was registered, and its data.
        evaluation: its evaluation report.
        data_audit: audit of its dataset.
        model_audit: its shortcut audit.
        predictions: its predictions table.
    """

    registration: Registration
    evaluation: EvaluationReport
    data_audit: DataAudit
    model_audit: ModelAudit
    predictions: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> "Evidence":
        """Read the reports on the registered model from a folder laid out like reports/.

        Raises:
            EvidenceError: a file is missing or invalid, or the evaluation is of another bundle.
        """
        registration = read_json(folder / _REGISTRATION, Registration)
        files = evidence_files(registration.model)
        evaluation = read_json(folder / files.evaluation, EvaluationReport)
        if evaluation.bundle_sha256 != registration.bundle_sha256:
            raise EvidenceError(
                f"expected {folder / files.evaluation} to be of the registered bundle "
                f"{registration.bundle_sha256[:12]}, got {evaluation.bundle_sha256[:12]}. Run `dvc repro`."
            )
        return cls(
            registration=registration,
            evaluation=evaluation,
            data_audit=read_json(folder / files.data_audit, DataAudit),
            model_audit=read_json(folder / files.model_audit, ModelAudit),
            predictions=read_predictions(folder / files.predictions),
        )

    @property
    def model(self) -> str:
        """Name of the model in params.yaml."""
        return self.registration.model

    @property
    def bootstrap(self) -> BootstrapParams:
        """The resampling of its evaluation report."""
        description = self.evaluation.bootstrap
        return BootstrapParams(resamples=description.resamples, seed=description.seed)


_REGISTRATION = paths.REGISTRATION.relative_to(paths.REPORTS)


class EvidenceFiles(NamedTuple):
    """Paths of the files that `Evidence.read` reads, relative to reports/."""

    registration: Path
    evaluation: Path
    data_audit: Path
    model_audit: Path
    predictions: Path


def evidence_files(model: str) -> EvidenceFiles:
    """Return the paths of the evidence on a model, relative to reports/."""
    return EvidenceFiles(
        registration=_REGISTRATION,
        evaluation=paths.EVALUATION_REPORTS.relative_to(paths.REPORTS) / f"{model}.json",
        data_audit=paths.DATA_AUDIT.relative_to(paths.REPORTS),
        model_audit=paths.MODEL_AUDITS.relative_to(paths.REPORTS) / f"{model}.json",
        predictions=paths.PREDICTIONS.relative_to(paths.REPORTS) / f"{model}.csv",
    )
