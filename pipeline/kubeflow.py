"""The same DAG on Kubeflow Pipelines: ``python -m pipeline.kubeflow compile|run|submit|status|share``.

dvc.yaml and params.yaml stay the only definition; see docs/kubeflow.md.
"""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from pipeline import demo, project
from pneumonia.errors import ClusterError
from pneumonia.terminal import refusals_in_one_line

LOCAL = project.ROOT / "build/kubeflow"
host = click.option(
    "--host", required=True, envvar="KFP_HOST", help="Address of the Kubeflow Pipelines API, with http:// or https://."
)
namespace = click.option("--namespace", help="Of your profile, where Kubeflow serves several users.")
changes = click.option(
    "--set",
    "-S",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="A change of params.yaml, as `dvc exp run -S`.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run the DAG of dvc.yaml on Kubeflow Pipelines."""


@main.command(name="compile")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="By default deploy/kubeflow/.")
@refusals_in_one_line()
def compile_(output: Path | None) -> None:
    """Compile dvc.yaml and params.yaml into a package."""
    from pipeline import kubeflow_package

    target = output or kubeflow_package.PACKAGE
    with definition(()) as folder:
        kubeflow_package.compile_package(folder, target)
    print(f"The package: {target}")


@main.command()
@click.option("--phantom", is_flag=True, help="On embedded phantoms, as `make demo`.")
@changes
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), default=LOCAL, help="For all that the run leaves."
)
@refusals_in_one_line()
def run(phantom: bool, overrides: tuple[str, ...], folder: Path) -> None:
    """Run the package on this machine, each task a process of its own, in Kubeflow's local runner."""
    from pipeline import kubeflow_local

    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    demo.make_project(folder, demo.CHANGES if phantom else {})
    change(folder / "params.yaml", overrides)
    kubeflow_local.run(folder)
    print(
        f"\nDone. The data is in {folder / kubeflow_local.REMOTE}; `dvc repro --pull` in {folder} brings all reports "
        "without running the stages again."
    )


@main.command()
@host
@namespace
@changes
@click.option("--remote", help="Instead of kubeflow.remote of params.yaml.")
@click.option("--endpoint", help="Instead of kubeflow.endpoint of params.yaml.")
@refusals_in_one_line()
def submit(
    host: str, namespace: str | None, overrides: tuple[str, ...], remote: str | None, endpoint: str | None
) -> None:
    """Start a run on a cluster, and print its id."""
    from pipeline import kubeflow_cluster, kubeflow_package

    given = {"remote": remote, "endpoint": endpoint}
    with definition(overrides) as folder:
        package = folder / "pipeline.yaml"
        kubeflow_package.compile_package(folder, package)
        arguments = {name: value for name, value in given.items() if value is not None}
        run_id = kubeflow_cluster.submit(host, namespace, package, arguments)
    print(f"{run_id}\n\nTo follow it:  python -m pipeline.kubeflow status {run_id} --host {host}")


@main.command()
@click.argument("run_id")
@host
@namespace
@refusals_in_one_line()
def status(run_id: str, host: str, namespace: str | None) -> None:
    """Follow a run to its end; the exit status is 0 when it succeeded."""
    from pipeline import kubeflow_cluster

    if not kubeflow_cluster.follow(host, namespace, run_id):
        sys.exit(1)


@main.command()
@refusals_in_one_line()
def share() -> None:
    """Push what `dvc repro` has done here to the default remote, so that the cluster does not do it again."""
    from pipeline import pod

    print(f"{pod.share()} results of stages are in the remote.")


@contextlib.contextmanager
def definition(overrides: tuple[str, ...]) -> Iterator[Path]:
    """Make a folder with dvc.yaml and the changed params.yaml, as DVC resolves them; gone after the block."""
    with tempfile.TemporaryDirectory(prefix="pneumonia-") as name:
        folder = Path(name)
        for file in ("dvc.yaml", "params.yaml"):
            shutil.copyfile(project.ROOT / file, folder / file)
        project.make_dvc(folder, passing=True)
        change(folder / "params.yaml", overrides)
        yield folder


def change(params: Path, overrides: tuple[str, ...]) -> None:
    """Change a params file in place, by overrides as `dvc exp run -S` takes them.

    Raises:
        ClusterError: a change is not understood, or names a key that there is not.
    """
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides

    try:
        apply_overrides(params, list(overrides))
    except DvcException as error:
        raise ClusterError(
            f"{' '.join(overrides)} cannot be applied: {error.__cause__ or error}\n"
            "Expected changes such as train.models.cnn.epochs=2, of keys that params.yaml has."
        ) from error


if __name__ == "__main__":
    main()
