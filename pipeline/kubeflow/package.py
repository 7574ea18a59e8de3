"""Compile the DAG into a package for Kubeflow Pipelines: a task per stage of dvc.yaml, and one to show each model."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, dsl

from pipeline import project
from pipeline.kubeflow import dag as kubeflow_dag
from pipeline.kubeflow.settings import KubeflowParams, PodParams
from pipeline.kubeflow.task import component, configure_task
from pneumonia.core import paths
from pneumonia.core import settings as settings_files
from pneumonia.core.errors import ClusterError

NAME = "pneumonia"
PACKAGE = project.ROOT / "deploy/kubeflow/pipeline.yaml"
EVALUATE = "evaluate"
"""Matrix stage whose metrics and predictions `show` displays."""


# Kubeflow copies the source of the next three functions into the package and runs it in the pod.


def stage(
    name: str,
    inputs: str,
    run: str,
    params: str,
    remote: str,
    endpoint: str,
    mlflow_ui: str,
    page: dsl.Output[dsl.Markdown],
) -> str:
    """Run a stage of dvc.yaml; return the paths and hashes of its outputs."""
    from pathlib import Path

    from pipeline.kubeflow import pod

    outputs, text = pod.run_stage(pod.RunContext(run, params, remote, endpoint, mlflow_ui), name, inputs)
    Path(page.path).write_text(text, encoding="utf-8")
    return outputs


def show(
    model: str,
    inputs: str,
    run: str,
    params: str,
    remote: str,
    endpoint: str,
    metrics: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.ClassificationMetrics],
) -> None:
    """Show the metrics, ROC curve and confusion matrix of a model."""
    from pipeline.kubeflow import pod, pod_show

    pod_show.show(pod.RunContext(run, params, remote, endpoint), model, inputs, metrics, curves)


def record(
    run: str, remote: str, endpoint: str, status: dsl.PipelineTaskFinalStatus, page: dsl.Output[dsl.Markdown]
) -> None:
    """Record the final state of the run, and the messages of the stages that failed."""
    from pathlib import Path

    from pipeline.kubeflow import run_record

    text = run_record.close(remote, endpoint, run, status.state, status.error_message or "")
    Path(page.path).write_text(text, encoding="utf-8")
    print(text)


def compile_package(folder: Path, target: Path) -> None:
    """Compile a project's definition; the same definition always gives the same file.

    Args:
        folder: a DVC project with dvc.yaml, params.yaml and operations.yaml.
        target: file to write.

    Raises:
        ClusterError: DVC cannot resolve the DAG, or ``kubeflow.pods`` names a stage that it does not have.
        ConfigError: the section ``kubeflow`` of operations.yaml is invalid.
    """
    params = yaml.safe_load((folder / paths.PARAMS).read_text(encoding="utf-8"))
    settings = settings_files.read_section(folder / paths.OPERATIONS, "kubeflow", KubeflowParams)
    stages = kubeflow_dag.read(folder)
    unknown = set(settings.pods) - {"default"} - {stage.family for stage in stages}
    if unknown:
        raise ClusterError(
            f"kubeflow.pods of {paths.OPERATIONS} names {', '.join(sorted(unknown))}, but dvc.yaml has no such stage. "
            f"Its stages are {', '.join(dict.fromkeys(stage.family for stage in stages))}."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        compiler.Compiler().compile(_pipeline(stages, settings, json.dumps(params)), str(target))


def _pipeline(stages: tuple[kubeflow_dag.Stage, ...], settings: KubeflowParams, params_json: str) -> Any:
    default = settings.pods["default"]

    def task(function: Callable[..., Any], title: str, pod: PodParams, /, **arguments: Any) -> Any:
        return configure_task(component(function, title, settings.image)(**arguments), settings, pod)

    @dsl.pipeline(name=NAME, description="From a folder of chest radiographs to a registered pneumonia model.")
    def pipeline(
        params: str = params_json,
        remote: str = settings.remote,
        endpoint: str = settings.endpoint,
        mlflow_ui: str = settings.mlflow_ui,
    ) -> None:
        storage = {"run": dsl.PIPELINE_JOB_ID_PLACEHOLDER, "remote": remote, "endpoint": endpoint}
        shared = storage | {"params": params}
        with dsl.ExitHandler(task(record, "record", default, **storage), name="stages"):
            outputs: dict[str, Any] = {}
            for member in stages:
                inputs = " ".join(str(outputs[parent]) for parent in member.parents)
                pod = settings.pods.get(member.family, default)
                ran = task(stage, member.name, pod, name=member.name, inputs=inputs, mlflow_ui=mlflow_ui, **shared)
                outputs[member.name] = ran.outputs["Output"]
            for member in stages:
                if member.family == EVALUATE:
                    model = member.item
                    task(show, f"show-{model}", default, model=model, inputs=outputs[member.name], **shared)

    return pipeline
