"""Scoring an archive on Kubeflow Pipelines: ``python -m pipeline.kubeflow_score compile|run|submit``.

The same shards as of `pneumonia score`, each a task of its own; see docs/scoring.md.
"""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import click
from kfp import compiler, components, dsl, local

from pipeline import project
from pipeline.kubeflow import host, namespace
from pipeline.kubeflow_task import component, furnished
from pneumonia import config
from pneumonia.errors import ClusterError
from pneumonia.scoring.command import SHARD_SIZE
from pneumonia.terminal import refusals_in_one_line

NAME = "pneumonia-score"
PACKAGE = project.ROOT / "deploy/kubeflow/score.yaml"
PARAMS = project.ROOT / "params.yaml"
AT_ONCE = 16
"""Shards that a cluster scores at once, at most."""
RETRIES = 3
"""Of a shard whose pod was lost; a shard is idempotent."""

source = click.argument("source", metavar="SOURCE")
out = click.option("--out", required=True, help="Folder or s3:// URL for the result, which all tasks reach.")
bundle = click.option("--bundle", default="", help="Folder of the model; the champion or the release by default.")
shard_size = click.option("--shard-size", default=SHARD_SIZE, show_default=True, help="Images in a shard.")
endpoint = click.option("--endpoint", help="Of an S3-compatible server, instead of kubeflow.endpoint of params.yaml.")


# Kubeflow takes the source of these three functions along, and runs it in the pod.


def list_images(source: str, out: str, bundle: str, shard_size: int, endpoint: str) -> list[int]:
    """List the images; the answer says which shards are left."""
    from pipeline import pod_score

    return pod_score.list_images(source, out, bundle, shard_size, endpoint)


def score(out: str, bundle: str, shard: int, endpoint: str) -> None:
    """Score one shard."""
    from pipeline import pod_score

    pod_score.score(out, bundle, shard, endpoint)


def merge(out: str, endpoint: str, decisions: dsl.Output[dsl.Metrics]) -> None:
    """Put the shards together, and show how many images got each decision."""
    from pipeline import pod_score

    for decision, count in pod_score.merge(out, endpoint).items():
        decisions.log_metric(decision, count)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Score a folder or a bucket of images on Kubeflow Pipelines."""


@main.command(name="compile")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), default=PACKAGE, help="Package to write.")
@refusals_in_one_line()
def compile_(output: Path) -> None:
    """Compile the package; params.yaml says which image, resources, volume and secrets its pods get."""
    compile_package(output)
    print(f"The package: {output}")


@main.command()
@source
@out
@bundle
@shard_size
@endpoint
@refusals_in_one_line()
def run(endpoint: str | None, **arguments: Any) -> None:
    """Run the package on this machine, each task a process of its own, in Kubeflow's local runner."""
    os.environ["PYTHONPATH"] = f"{project.ROOT / 'src'}{os.pathsep}{project.ROOT}"
    with tempfile.TemporaryDirectory(prefix="pneumonia-") as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this is no cluster: images and resources are not used
        package = Path(name) / "score.yaml"
        compile_package(package)
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=f"{name}/tasks")
        pipeline = components.load_component_from_file(str(package))
        try:
            pipeline(**arguments, endpoint=endpoint or "")
        except RuntimeError as error:
            raise ClusterError(f"{error}\nWhat the task said is above. Shards that are done are kept.") from error


@main.command()
@source
@out
@bundle
@shard_size
@endpoint
@host
@namespace
@refusals_in_one_line()
def submit(host: str, namespace: str | None, endpoint: str | None, **arguments: Any) -> None:
    """Start a run on a cluster, and print its id."""
    from pipeline import kubeflow_cluster

    given = arguments if endpoint is None else arguments | {"endpoint": endpoint}
    with tempfile.TemporaryDirectory(prefix="pneumonia-") as name:
        package = Path(name) / "score.yaml"
        compile_package(package)
        run_id = kubeflow_cluster.submit(host, namespace, package, given)
    print(f"{run_id}\n\nTo follow it:  python -m pipeline.kubeflow status {run_id} --host {host}")


def compile_package(target: Path) -> None:
    """Compile the pipeline with the settings of params.yaml; the same settings always give the same file.

    Raises:
        ConfigError: params.yaml is faulty.
    """
    settings = config.load(PARAMS).kubeflow
    target.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        compiler.Compiler().compile(_pipeline(settings), str(target))


def _pipeline(settings: config.KubeflowParams) -> Any:
    asked = settings.pods["default"]
    for_shard = asked.model_copy(update={"retries": RETRIES})

    @dsl.pipeline(name=NAME, description="Every image of a folder or a bucket, scored in parallel shards.")
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
        furnished(listed, settings, asked)
        with dsl.ParallelFor(listed.output, parallelism=AT_ONCE) as shard:
            scored = component(score, "score", settings.image)(out=out, bundle=bundle, shard=shard, endpoint=endpoint)
            furnished(scored, settings, for_shard)
        merged = component(merge, "merge", settings.image)(out=out, endpoint=endpoint).after(scored)
        furnished(merged, settings, asked)

    return pipeline


if __name__ == "__main__":
    main()
