"""Components and tasks of a Kubeflow pipeline, with the resources, volume and secrets of operations.yaml."""

from collections.abc import Callable
from typing import Any

from kfp import dsl, kubernetes

from pipeline.kubeflow.settings import KubeflowParams, PodParams

GPU = "nvidia.com/gpu"
STORAGE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
MLFLOW_KEYS = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
RETRY_DELAY = "30s"
"""Before the first retry; doubles with each."""


def component(function: Callable[..., Any], name: str, image: str) -> Any:
    """Return a component that runs the source of a function in a pod.

    Args:
        function: whose source Kubeflow copies; it may use nothing outside of its body.
        name: shown on Kubeflow's page.
        image: container image with this project's code.
    """
    made = dsl.component(func=function, base_image=image, install_kfp_package=False)
    made.component_spec.name = name.replace("@", "-").replace("_", "-")
    return made


def configure_task(task: Any, settings: KubeflowParams, pod: PodParams) -> Any:
    """Set a task's resources, retries, volume and secrets (by name), and return the task.

    Kubeflow's own cache is turned off: it identifies a task by its arguments, not by the content they refer to. DVC's
    run cache takes its place.
    """
    task.set_caching_options(False)
    task.set_cpu_request(pod.cpu).set_cpu_limit(pod.cpu)
    task.set_memory_request(pod.memory).set_memory_limit(pod.memory)
    if pod.gpus:
        task.set_accelerator_type(GPU).set_accelerator_limit(pod.gpus)
    if pod.retries:
        task.set_retry(pod.retries, backoff_duration=RETRY_DELAY)
    for label, value in pod.nodes.items():
        kubernetes.add_node_selector(task, label, value)
    if settings.volume:
        kubernetes.mount_pvc(task, settings.volume.claim, settings.volume.path)
    for secret, keys in ((settings.secrets.storage, STORAGE_KEYS), (settings.secrets.mlflow, MLFLOW_KEYS)):
        kubernetes.use_secret_as_env(task, secret, {key: key for key in keys}, optional=True)
    return task
