"""Run the DAG of dvc.yaml on Kubeflow Pipelines: ``python -m pipeline.kubeflow compile|run|submit|status|share``.

dvc.yaml, params.yaml and operations.yaml define everything; see docs/kubeflow.md.
"""

import sys
from pathlib import Path

import click

from pipeline import demo, project
from pipeline.kubeflow import definition, options
from pneumonia.cli.terminal import exit_on_error

LOCAL = project.ROOT / "build/kubeflow"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run the DAG of dvc.yaml on Kubeflow Pipelines."""


@main.command(name="compile")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; by default deploy/kubeflow/pipeline.yaml.",
)
@exit_on_error()
def compile_(output: Path | None) -> None:
    """Compile dvc.yaml, params.yaml and operations.yaml into a package."""
    from pipeline.kubeflow import package as kubeflow_package

    target = output or kubeflow_package.PACKAGE
    with definition.temporary(()) as folder:
        kubeflow_package.compile_package(folder, target)
    print(f"Written to {target}")


@main.command()
@click.option("--phantom", is_flag=True, help="Use phantoms and small models, as `make demo` does.")
@options.overrides
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=LOCAL,
    help="For data, results and logs of the run; by default build/kubeflow.",
)
@exit_on_error()
def run(phantom: bool, overrides: tuple[str, ...], folder: Path) -> None:
    """Run the package on this machine in Kubeflow's local runner, each task in its own process."""
    from pipeline.kubeflow import local as kubeflow_local

    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    demo.make_project(folder, demo.CHANGES if phantom else {})
    definition.override(folder, overrides)
    kubeflow_local.run_dag(folder)
    print(
        f"\nDone. The data is in {folder / kubeflow_local.REMOTE}. `dvc repro --pull` in {folder} fetches all results "
        "without running the stages again."
    )


@main.command()
@options.host
@options.namespace
@options.overrides
@click.option("--remote", help="DVC remote, instead of kubeflow.remote in operations.yaml.")
@click.option(
    "--endpoint", help="Address of an S3-compatible server, instead of kubeflow.endpoint in operations.yaml."
)
@exit_on_error()
def submit(
    host: str, namespace: str | None, overrides: tuple[str, ...], remote: str | None, endpoint: str | None
) -> None:
    """Start a run on a cluster, and print its id."""
    from pipeline.kubeflow import cluster as kubeflow_cluster
    from pipeline.kubeflow import package as kubeflow_package

    given = {"remote": remote, "endpoint": endpoint}
    with definition.temporary(overrides) as folder:
        package = folder / "pipeline.yaml"
        kubeflow_package.compile_package(folder, package)
        arguments = {name: value for name, value in given.items() if value is not None}
        run_id = kubeflow_cluster.submit(host, namespace, package, arguments)
    print(f"{run_id}\n\nFollow it with:  python -m pipeline.kubeflow status {run_id} --host {host}")


@main.command()
@click.argument("run_id")
@options.host
@options.namespace
@exit_on_error()
def status(run_id: str, host: str, namespace: str | None) -> None:
    """Follow a run until it ends; the exit status is 0 if it succeeded and 1 otherwise."""
    from pipeline.kubeflow import cluster as kubeflow_cluster

    if not kubeflow_cluster.follow(host, namespace, run_id):
        sys.exit(1)


@main.command()
@exit_on_error()
def share() -> None:
    """Push the results of `dvc repro` on this machine to the default remote, so that pods reuse them."""
    from pipeline.kubeflow import share as kubeflow_share

    print(f"The results of {kubeflow_share.share()} stages are in the remote.")


if __name__ == "__main__":
    main()
