"""Score an archive on Kubeflow Pipelines: ``python -m pipeline.kubeflow.score compile|run|submit``.

The shards are those of `pneumonia score`, each in its own task; see docs/scoring.md.
"""

import tempfile
from pathlib import Path
from typing import Any

import click

from pipeline.kubeflow import options, score_package
from pneumonia.cli.terminal import exit_on_error
from pneumonia.core.errors import ClusterError
from pneumonia.scoring.settings import SHARD_SIZE

source = click.argument("source", metavar="SOURCE")
out = click.option("--out", required=True, help="Folder or s3:// URL for the result, which all tasks can write to.")
bundle = click.option("--bundle", default="", help="Folder of the model; by default the champion, or the release.")
shard_size = click.option("--shard-size", default=SHARD_SIZE, show_default=True, help="Images per shard.")
endpoint = click.option(
    "--endpoint", help="Address of an S3-compatible server, instead of kubeflow.endpoint in operations.yaml."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Score a folder or a bucket of images on Kubeflow Pipelines."""


@main.command(name="compile")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=score_package.PACKAGE,
    help="File to write; by default deploy/kubeflow/score.yaml.",
)
@exit_on_error()
def compile_(output: Path) -> None:
    """Compile the package, with image, resources, volume and secrets of operations.yaml."""
    score_package.compile_package(output)
    print(f"Written to {output}")


@main.command()
@source
@out
@bundle
@shard_size
@endpoint
@exit_on_error()
def run(endpoint: str | None, **arguments: Any) -> None:
    """Run the package on this machine in Kubeflow's local runner, each task in its own process."""
    from pipeline.kubeflow import local as kubeflow_local

    with tempfile.TemporaryDirectory(prefix="pneumonia-") as name:
        package = Path(name) / "score.yaml"
        score_package.compile_package(package)
        try:
            kubeflow_local.run_package(package, arguments | {"endpoint": endpoint or ""}, Path(name) / "tasks")
        except RuntimeError as error:
            raise ClusterError(
                f"{error}\nThe message of the task is above. Correct its cause and run again; finished shards are "
                "kept."
            ) from error


@main.command()
@source
@out
@bundle
@shard_size
@endpoint
@options.host
@options.namespace
@exit_on_error()
def submit(host: str, namespace: str | None, endpoint: str | None, **arguments: Any) -> None:
    """Start a run on a cluster, and print its id."""
    from pipeline.kubeflow import cluster as kubeflow_cluster

    given = arguments if endpoint is None else arguments | {"endpoint": endpoint}
    with tempfile.TemporaryDirectory(prefix="pneumonia-") as name:
        package = Path(name) / "score.yaml"
        score_package.compile_package(package)
        run_id = kubeflow_cluster.submit(host, namespace, package, given)
    print(f"{run_id}\n\nFollow it with:  python -m pipeline.kubeflow status {run_id} --host {host}")


if __name__ == "__main__":
    main()
