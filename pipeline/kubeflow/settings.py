"""Settings of the Kubeflow pipelines: the section ``kubeflow`` of operations.yaml."""

from typing import Annotated

import pydantic
from pydantic import Field, NonNegativeInt

from pneumonia.core.settings import Section


class PodParams(Section):
    """Resources of the pods of one stage.

    Attributes:
        cpu: request and limit, in Kubernetes' notation (``500m`` is half a core).
        memory: request and limit, in Kubernetes' notation.
        gpus: number of ``nvidia.com/gpu`` devices.
        nodes: labels that the node must have.
        retries: after a failure.
    """

    cpu: Annotated[str, Field(pattern=r"^\d+(\.\d+|m)?$")]
    memory: Annotated[str, Field(pattern=r"^\d+(Mi|Gi|M|G)$")]
    gpus: NonNegativeInt = 0
    nodes: dict[str, str] = Field(default_factory=dict)
    retries: NonNegativeInt = 0


class VolumeParams(Section):
    """A persistent volume claim, and the folder where it is mounted in every pod."""

    claim: Annotated[str, Field(min_length=1)]
    path: Annotated[str, Field(pattern=r"^/.")]


class SecretParams(Section):
    """Names of the Kubernetes secrets with the credentials of the remote and the address of MLflow."""

    storage: Annotated[str, Field(min_length=1)]
    mlflow: Annotated[str, Field(min_length=1)]


class KubeflowParams(Section):
    """Settings of the pipelines on Kubeflow.

    Attributes:
        image: container image with the code of this repository and its ``kubeflow`` extra.
        remote: DVC remote through which pods exchange data: a URL, or a folder on the volume.
        endpoint: address of an S3-compatible server; empty for the provider's own.
        mlflow_ui: address of the MLflow UI for browsers, used in links; empty for the tracking server's address.
        volume: mounted into every pod; None for no volume.
        secrets: with the credentials.
        pods: resources by stage; a matrix is one stage, and ``default`` applies to stages that are not named.
    """

    image: Annotated[str, Field(min_length=1)]
    remote: Annotated[str, Field(min_length=1)]
    endpoint: str
    mlflow_ui: str
    volume: VolumeParams | None
    secrets: SecretParams
    pods: dict[str, PodParams]

    @pydantic.field_validator("pods")
    @classmethod
    def _default_exists(cls, pods: dict[str, PodParams]) -> dict[str, PodParams]:
        if "default" not in pods:
            raise ValueError("pods must have a default, for the stages that it does not name")
        return pods
