"""The DAG as a package for Kubeflow Pipelines: every stage of dvc.yaml a task, and a task that shows each model."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, dsl

from pipeline import kubeflow_dag, project
from pipeline.kubeflow_task import component, furnished
from pneumonia import config
from pneumonia.errors import ClusterError

NAME = "pneumonia"
PACKAGE = project.ROOT / "deploy/kubeflow/pipeline.yaml"
JUDGE = "evaluate"
"""The stage that judges every model of `MATRIX`."""
MATRIX = "train"


# Kubeflow takes the source of these three functions along, and runs it in the pod.


def stage(
    name: str, inputs: str, run: str, params: str, remote: str, endpoint: str, page: dsl.Output[dsl.Markdown]
) -> str:
    """Run a stage of dvc.yaml; the answer says what it has made."""
    from pathlib import Path

    from pipeline import pod

    made, text = pod.run_stage(pod.Work(run, params, remote, endpoint), name, inputs)
    Path(page.path).write_text(text, encoding="utf-8")
    return made


def show(
    model: str,
    inputs: str,
    run: str,
    params: str,
    remote: str,
    endpoint: str,
    figures: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.ClassificationMetrics],
    page: dsl.Output[dsl.Markdown],
) -> None:
    """Show how a model was judged."""
    from pathlib import Path

    from pipeline import pod, pod_show

    text = pod_show.show(pod.Work(run, params, remote, endpoint), model, inputs, figures, curves)
    Path(page.path).write_text(text, encoding="utf-8")


def record(
    run: str, remote: str, endpoint: str, status: dsl.PipelineTaskFinalStatus, page: dsl.Output[dsl.Markdown]
) -> None:
    """Write down how the run ended, and which stages failed why."""
    from pathlib import Path

    from pipeline import run_record

    text = run_record.close(remote, endpoint, run, status.state, status.error_message or "")
    Path(page.path).write_text(text, encoding="utf-8")
    print(text)


def compile_package(folder: Path, target: Path) -> None:
    """Compile the DAG of a DVC project; the same project always gives the same file.

    Args:
        folder: with dvc.yaml and params.yaml, and initialized for DVC.
        target: the package, a YAML file.

    Raises:
        ClusterError: DVC cannot resolve the DAG, or ``kubeflow.pods`` names a stage that it has not.
        ConfigError: params.yaml is faulty.
    """
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    settings = config.load(folder / "params.yaml").kubeflow
    stages = kubeflow_dag.read(folder)
    unknown = set(settings.pods) - {"default"} - {stage.family for stage in stages}
    if unknown:
        raise ClusterError(
            f"kubeflow.pods of params.yaml names {', '.join(sorted(unknown))}, but dvc.yaml has no such stage. "
            f"It has {', '.join(dict.fromkeys(stage.family for stage in stages))}."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        compiler.Compiler().compile(_pipeline(stages, settings, json.dumps(params)), str(target))


def _pipeline(stages: tuple[kubeflow_dag.Stage, ...], settings: config.KubeflowParams, params_json: str) -> Any:
    default = settings.pods["default"]

    def task(function: Callable[..., Any], title: str, asked: config.PodParams, /, **arguments: Any) -> Any:
        return furnished(component(function, title, settings.image)(**arguments), settings, asked)

    @dsl.pipeline(name=NAME, description="From a folder of chest radiographs to a registered pneumonia model.")
    def pipeline(params: str = params_json, remote: str = settings.remote, endpoint: str = settings.endpoint) -> None:
        place = {"run": dsl.PIPELINE_JOB_ID_PLACEHOLDER, "remote": remote, "endpoint": endpoint}
        shared = place | {"params": params}
        with dsl.ExitHandler(task(record, "record", default, **place), name="stages"):
            made: dict[str, Any] = {}
            for stage_ in stages:
                inputs = " ".join(str(made[parent]) for parent in stage_.parents)
                asked = settings.pods.get(stage_.family, default)
                made[stage_.name] = task(stage, stage_.name, asked, name=stage_.name, inputs=inputs, **shared).outputs[
                    "Output"
                ]
            for stage_ in stages:
                if stage_.family == MATRIX:
                    inputs = f"{made[JUDGE]} {made[stage_.name]}"
                    task(show, f"show-{stage_.item}", default, model=stage_.item, inputs=inputs, **shared)

    return pipeline
