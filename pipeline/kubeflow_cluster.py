"""Runs on a cluster, through the API of Kubeflow Pipelines: start one, follow one."""

import contextlib
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api
import requests
import urllib3

from pipeline.kubeflow_package import NAME
from pneumonia.errors import ClusterError

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
SECONDS_BETWEEN_LOOKS = 5.0
SECONDS_TO_ANSWER = 10


def submit(host: str, namespace: str | None, package: Path, arguments: Mapping[str, Any]) -> str:
    """Start a run of a package in the experiment `NAME`, and return its id.

    Args:
        host: address of the API.
        namespace: of the user's profile, on a Kubeflow with several users.
        package: compiled.
        arguments: parameters of the pipeline that differ from the package's.

    Raises:
        ClusterError: no server answers there, or it refuses.
    """
    with _refusals_explained(host):
        run = _client(host, namespace).create_run_from_pipeline_package(
            str(package), dict(arguments), experiment_name=NAME, namespace=namespace, enable_caching=False
        )
    return str(run.run_id)


def follow(host: str, namespace: str | None, run_id: str) -> bool:
    """Print every change of a run's tasks until it has ended; return whether it succeeded.

    Raises:
        ClusterError: no server answers there, or it knows no such run.
    """
    seen: dict[str, str] = {}
    with _refusals_explained(host):
        client = _client(host, namespace)
        while True:
            run = client.get_run(run_id)
            for task in (run.run_details and run.run_details.task_details) or ():
                if task.state and seen.get(task.task_id) != task.state:
                    seen[task.task_id] = task.state
                    print(f"{task.state:10} {task.display_name}{_reason(task.error)}", flush=True)
            if run.state in ENDED:
                print(f"{run.state:10} the run{_reason(run.error)}")
                return bool(run.state == "SUCCEEDED")
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _reason(error: Any) -> str:
    return f": {error.message}" if error and error.message else ""


def _client(host: str, namespace: str | None) -> kfp.Client:
    """Return a client of a server that answers; its token, if it wants one, is in ``KFP_TOKEN``."""
    token = os.environ.get("KFP_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = requests.get(f"{host.rstrip('/')}/apis/v2beta1/healthz", headers=headers, timeout=SECONDS_TO_ANSWER)
    answer.raise_for_status()  # the client itself would try for long, and tell in a traceback
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kfp.Client(host=host, namespace=namespace or "kubeflow", existing_token=token)


@contextlib.contextmanager
def _refusals_explained(host: str) -> Iterator[None]:
    expected = f"Expected the API of Kubeflow Pipelines 2 at {host}"
    try:
        yield
    except kfp_server_api.ApiException as error:
        raise ClusterError(f"{expected} to do this, but it answered {error.status}: {error.body}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise ClusterError(
            f"{expected}, but: {error}\nCheck the address (for a cluster of your own: `kubectl port-forward -n "
            "kubeflow svc/ml-pipeline-ui 8080:80`, then --host http://localhost:8080), and KFP_TOKEN where it wants "
            "a login."
        ) from error
