"""A task of a Kubeflow pipeline: a function in a pod, with the resources, volume and secrets of params.yaml."""

from collections.abc import Callable
from typing import Any

from kfp import dsl, kubernetes

from pneumonia import config

GPU = "nvidia.com/gpu"
STORAGE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
MLFLOW_KEYS = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
RETRY_AFTER = "30s"
"""Doubles with each retry."""


def component(function: Callable[..., Any], name: str, image: str) -> Any:
    """Make a component of a function; its source runs in a pod of the image."""
    made = dsl.component(func=function, base_image=image, install_kfp_package=False)
    made.component_spec.name = name.replace("@", "-").replace("_", "-")
    return made


def furnished(task: Any, settings: config.KubeflowParams, asked: config.PodParams) -> Any:
    """Give a task its resources, the volume and the names of its secrets; Kubeflow's own cache stays off."""
    task.set_caching_options(False)  # it knows a task by its arguments, not by the content behind them; DVC does
    task.set_cpu_request(asked.cpu).set_cpu_limit(asked.cpu)
    task.set_memory_request(asked.memory).set_memory_limit(asked.memory)
    if asked.gpus:
        task.set_accelerator_type(GPU).set_accelerator_limit(asked.gpus)
    if asked.retries:
        task.set_retry(asked.retries, backoff_duration=RETRY_AFTER)
    for label, value in asked.nodes.items():
        kubernetes.add_node_selector(task, label, value)
    if settings.volume:
        kubernetes.mount_pvc(task, settings.volume.claim, settings.volume.path)
    for secret, keys in ((settings.secrets.storage, STORAGE_KEYS), (settings.secrets.mlflow, MLFLOW_KEYS)):
        kubernetes.use_secret_as_env(task, secret, {key: key for key in keys}, optional=True)
    return task
