"""The audit's limits as params.yaml has them, so that the tests judge what is in use."""

from pathlib import Path

from pneumonia import config

AUDIT = config.load(Path(__file__).parents[2] / "params.yaml").audit
