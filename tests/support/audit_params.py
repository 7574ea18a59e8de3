"""The audit's limits as params.yaml has them, so that the tests use the same limits."""

from pathlib import Path

from pipeline.params import load

AUDIT = load(Path(__file__).parents[2] / "params.yaml").audit
