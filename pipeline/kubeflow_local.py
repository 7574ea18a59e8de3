"""The package in Kubeflow's official local runner: every task a process, as in a pod, but on this machine."""

import os
import warnings
from pathlib import Path

from kfp import components, local

from pipeline import kubeflow_package, project
from pneumonia import store_address
from pneumonia.errors import ClusterError

REMOTE = "remote"
"""Folder that is the DVC remote."""


def run(folder: Path) -> None:
    """Compile the project in a folder and run it there, with a folder as remote and one MLflow store for all tasks.

    Args:
        folder: as `demo.make_project` makes it. ``MLFLOW_TRACKING_URI`` stays where it is set.

    Raises:
        ClusterError: a stage failed; its message is in the record of the run, and was printed.
    """
    remote, package = folder / REMOTE, folder / "pipeline.yaml"
    project.make_dvc(folder, {"url": str(remote)})
    kubeflow_package.compile_package(folder, package)
    os.environ["MLFLOW_TRACKING_URI"] = store_address.tracking_uri(folder)
    os.environ["PYTHONPATH"] = f"{project.ROOT / 'src'}{os.pathsep}{project.ROOT}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this is no cluster: images and resources are not used
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "tasks"))
        pipeline = components.load_component_from_file(str(package))
        try:
            pipeline(remote=str(remote), endpoint="")
        except RuntimeError as error:
            raise ClusterError(f"{error}\nWhat the stage said is above, and in {remote / 'kubeflow'}.") from error
