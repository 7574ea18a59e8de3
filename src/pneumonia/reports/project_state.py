"""The parameters, data and reports of a project at one commit, read from its files.

This module uses neither git nor DVC.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pneumonia.core import paths
from pneumonia.core.errors import EvidenceError
from pneumonia.core.files import read_json
from pneumonia.evaluation.evaluation_report import EvaluationReport
from pneumonia.evaluation.prediction_table import read_predictions
from pneumonia.registry.registration_report import Registration

Flat = Mapping[str, object]
"""Nested values by dotted key."""

FORMER_FOLDER = paths.REPORTS / "judgement"
"""Folder of evaluation reports in the former layout of reports/."""

DATA_REPORTS = (paths.DOWNLOAD_REPORT, paths.VALIDATION_REPORT, paths.SPLIT_REPORT)


@dataclass(frozen=True)
class State:
    """A project at one commit.

    Attributes:
        params: values of params.yaml and operations.yaml.
        data: values of the reports on the images: source, hashes and counts.
        challenger: the registered model, None where there is none with reports.
        evaluations: evaluation reports by model.
        predictions: predictions tables of the same models.
    """

    params: Flat
    data: Flat
    challenger: str | None
    evaluations: Mapping[str, EvaluationReport]
    predictions: Mapping[str, pd.DataFrame]

    @classmethod
    def read(cls, root: Path) -> "State":
        """Read the state of the project in a folder; missing files are left out.

        Raises:
            EvidenceError: a file is invalid or of another version of the project.
        """
        if (root / FORMER_FOLDER).is_dir():
            raise EvidenceError(f"{root / FORMER_FOLDER} belongs to the former layout of reports/.")
        predictions = {file.stem: read_predictions(file) for file in sorted((root / paths.PREDICTIONS).glob("*.csv"))}
        evaluations = {
            file.stem: read_json(file, EvaluationReport)
            for file in sorted((root / paths.EVALUATION_REPORTS).glob("*.json"))
        }
        models = sorted(predictions.keys() & evaluations.keys())
        file = root / paths.REGISTRATION
        challenger = read_json(file, Registration).model if file.exists() else None
        return cls(
            params=_params(root),
            data=_data(root),
            challenger=challenger if challenger in models else None,
            evaluations={model: evaluations[model] for model in models},
            predictions={model: predictions[model] for model in models},
        )

    @classmethod
    def read_without_models(cls, root: Path) -> "State":
        """Read parameters and data only, for a project whose reports on models are of another layout."""
        return cls(_params(root), _data(root), None, {}, {})


class _DataIdentity(BaseModel):
    """The fields on the images in reports/registered.json, in the current and the former layout."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    source: str | None = None
    data_hash: str | None = None


def _params(root: Path) -> Flat:
    return _flat(_read(root / paths.PARAMS)) | _flat(_read(root / paths.OPERATIONS))


def _data(root: Path) -> Flat:
    """Return values of the reports on the images; lists (missing files, duplicates) are replaced by their lengths."""
    definition = _read(root / "data.dvc").get("outs")
    pinned = definition[0] if isinstance(definition, list) and definition else {}
    reports = {file.stem: _read(root / file) for file in DATA_REPORTS}
    reports[paths.VALIDATION_REPORT.stem].pop("results", None)
    nested = {**_data_identity(root).model_dump(), "definition": pinned.get("md5"), **reports}
    flat = {key: len(value) if isinstance(value, list) else value for key, value in _flat(nested).items()}
    return {key: value for key, value in flat.items() if value is not None}


def _data_identity(root: Path) -> _DataIdentity:
    try:
        return _DataIdentity.model_validate(_read(root / paths.REGISTRATION))
    except ValidationError as error:
        raise EvidenceError(f"{root / paths.REGISTRATION} is invalid: {error.errors()[0]['msg']}.") from None


def _flat(nested: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _read(path: Path) -> dict[str, object]:
    """Return the content of a JSON or YAML file, empty where the file is missing."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise EvidenceError(f"{path} cannot be read: {error}. Restore it with git, or run `dvc repro`.") from None
    if not isinstance(content, dict):
        raise EvidenceError(f"expected keys and values in {path}. Restore it with git, or run `dvc repro`.")
    return content
