"""Compile the scoring of an archive into a package for Kubeflow Pipelines: a task per shard of `pneumonia score`."""

import warnings
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from pipeline import project
from pipeline.kubeflow.settings import KubeflowParams
from pipeline.kubeflow.task import component, configure_task
from pneumonia.core import paths
from pneumonia.core import settings as settings_files
from pneumonia.scoring.settings import SHARD_SIZE

NAME = "pneumonia-score"
PACKAGE = project.ROOT / "deploy/kubeflow/score.yaml"
OPERATIONS = project.ROOT / paths.OPERATIONS
PARALLEL_SHARDS = 16
"""Largest number of shards that a cluster scores at the same time."""
RETRIES = 3
"""Of a shard whose pod was lost; scoring a shard again gives the same file."""


# Kubeflow copies the source of the next three functions into the package and runs it in the pod.


def list_images(source: str, out: str, bundle: str, shard_size: int, endpoint: str) -> list[int]:
    """List the images; return the numbers of the shards to score."""
    from pipeline.kubeflow import pod_score

    return pod_score.list_images(source, out, bundle, shard_size, endpoint)


def score(out: str, bundle: str, shard: int, endpoint: str) -> None:
    """Score one shard."""
    from pipeline.kubeflow import pod_score

    pod_score.score(out, bundle, shard, endpoint)


def merge(out: str, endpoint: str, decisions: dsl.Output[dsl.Metrics]) -> None:
    """Merge the shards, and show the number of images per decision."""
    from pipeline.kubeflow import pod_score

    for decision, count in pod_score.merge(out, endpoint).items():
        decisions.log_metric(decision, count)


def compile_package(target: Path) -> None:
    """Compile the pipeline with the settings of operations.yaml; the same settings always give the same file.

    Raises:
        ConfigError: the section ``kubeflow`` of operations.yaml is invalid.
    """
    settings = settings_files.read_section(OPERATIONS, "kubeflow", KubeflowParams)
    target.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        compiler.Compiler().compile(_pipeline(settings), str(target))


def _pipeline(settings: KubeflowParams) -> Any:
    pod = settings.pods["default"]
    shard_pod = pod.model_copy(update={"retries": RETRIES})

    @dsl.pipeline(name=NAME, description="Score every image of a folder or a bucket, in parallel shards.")
    def pipeline(
        source: str,
        out: str,
        bundle: str = "",
        shard_size: int = SHARD_SIZE,
        endpoint: str = settings.endpoint,
    ) -> None:
        listed = component(list_images, "list", settings.image)(
            source=source, out=out, bundle=bundle, shard_size=shard_size, endpoint=endpoint
        )
        configure_task(listed, settings, pod)
        with dsl.ParallelFor(listed.output, parallelism=PARALLEL_SHARDS) as shard:
            scored = component(score, "score", settings.image)(out=out, bundle=bundle, shard=shard, endpoint=endpoint)
            configure_task(scored, settings, shard_pod)
        merged = component(merge, "merge", settings.image)(out=out, endpoint=endpoint).after(scored)
        configure_task(merged, settings, pod)

    return pipeline
