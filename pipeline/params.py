"""params.yaml: all settings that stages read."""

from pathlib import Path

from pydantic import Field

from pneumonia.audit.settings import AuditParams
from pneumonia.bundle.settings import CalibrateParams
from pneumonia.core import settings
from pneumonia.core.settings import Section
from pneumonia.data.settings import DataParams, SplitParams, ValidateParams
from pneumonia.evaluation.settings import EvaluateParams, ExplainParams
from pneumonia.images.settings import PrepareParams
from pneumonia.registry.settings import RegisterParams
from pneumonia.training.settings import TrainParams

PARAMS = Path("params.yaml")


class Params(Section):
    """The whole of params.yaml, one section per stage."""

    data: DataParams
    validation: ValidateParams = Field(alias="validate")
    split: SplitParams
    prepare: PrepareParams
    train: TrainParams
    calibrate: CalibrateParams
    evaluate: EvaluateParams
    explain: ExplainParams
    audit: AuditParams
    register_: RegisterParams = Field(alias="register")


def load(path: Path = PARAMS) -> Params:
    """Read and validate a params file.

    Raises:
        ConfigError: see `core.settings.read`.
    """
    return settings.read(path, Params)
