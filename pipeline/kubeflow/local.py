"""Run packages in Kubeflow's official local runner: every task is a process on this machine."""

import os
import warnings
from pathlib import Path
from typing import Any

from kfp import components, local

from pipeline import project
from pipeline.kubeflow import package as kubeflow_package
from pneumonia.core.errors import ClusterError
from pneumonia.registry import address as store_address

REMOTE = "remote"
"""Folder that serves as the DVC remote."""


def run_dag(folder: Path) -> None:
    """Compile the project in a folder and run it there, with a folder as remote and one MLflow store for all tasks.

    Args:
        folder: as `demo.make_project` makes it. ``MLFLOW_TRACKING_URI`` is used if it is set.

    Raises:
        ClusterError: a stage failed; its message was printed, and is in the record of the run.
    """
    remote, package = folder / REMOTE, folder / "pipeline.yaml"
    project.make_dvc(folder, {"url": str(remote)})
    kubeflow_package.compile_package(folder, package)
    os.environ["MLFLOW_TRACKING_URI"] = store_address.tracking_uri(folder)
    try:
        run_package(package, {"remote": str(remote), "endpoint": ""}, folder / "tasks")
    except RuntimeError as error:
        raise ClusterError(
            f"{error}\nThe message of the stage is above, and in {remote / 'kubeflow'}. Correct its cause and run "
            "again."
        ) from error


def run_package(package: Path, arguments: dict[str, Any], tasks: Path) -> None:
    """Run a compiled pipeline.

    Args:
        package: file of the pipeline.
        arguments: of the pipeline.
        tasks: folder for the files of each task.

    Raises:
        RuntimeError: a task failed.
    """
    os.environ["PYTHONPATH"] = f"{project.ROOT / 'src'}{os.pathsep}{project.ROOT}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # images, resources and secrets have no meaning here
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tasks))
        components.load_component_from_file(str(package))(**arguments)
