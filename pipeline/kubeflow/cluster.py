"""Submit and follow runs on a cluster, through the API of Kubeflow Pipelines."""

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

from pipeline.kubeflow.package import NAME
from pneumonia.core.errors import ClusterError

FINAL_STATES = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
POLL_SECONDS = 5.0
RESPONSE_TIMEOUT_SECONDS = 10


def submit(host: str, namespace: str | None, package: Path, arguments: Mapping[str, Any]) -> str:
    """Start a run of a package in the experiment `package.NAME`, and return its id.

    Args:
        host: address of the API.
        namespace: of the user's profile, on a Kubeflow with several users.
        package: compiled pipeline.
        arguments: parameters of the pipeline that differ from the package's defaults.

    Raises:
        ClusterError: the server does not respond, or refuses.
    """
    with _errors_explained(host):
        run = _client(host, namespace).create_run_from_pipeline_package(
            str(package), dict(arguments), experiment_name=NAME, namespace=namespace, enable_caching=False
        )
    return str(run.run_id)


def follow(host: str, namespace: str | None, run_id: str) -> bool:
    """Print each change in the state of a run's tasks until the run ends; return whether it succeeded.

    Raises:
        ClusterError: the server does not respond, or has no such run.
    """
    printed: dict[str, str] = {}
    with _errors_explained(host):
        client = _client(host, namespace)
        while True:
            run = client.get_run(run_id)
            for task in (run.run_details and run.run_details.task_details) or ():
                if task.state and printed.get(task.task_id) != task.state:
                    printed[task.task_id] = task.state
                    print(f"{task.state:10} {task.display_name}{_reason(task.error)}", flush=True)
            if run.state in FINAL_STATES:
                print(f"{run.state:10} the run{_reason(run.error)}")
                return bool(run.state == "SUCCEEDED")
            time.sleep(POLL_SECONDS)


def _reason(error: Any) -> str:
    return f": {error.message}" if error and error.message else ""


def _client(host: str, namespace: str | None) -> kfp.Client:
    """Return a client; a token, if the server requires one, is read from ``KFP_TOKEN``."""
    token = os.environ.get("KFP_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # The client would retry for a long time and then raise a traceback.
    response = requests.get(
        f"{host.rstrip('/')}/apis/v2beta1/healthz", headers=headers, timeout=RESPONSE_TIMEOUT_SECONDS
    )
    response.raise_for_status()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kfp.Client(host=host, namespace=namespace or "kubeflow", existing_token=token)


@contextlib.contextmanager
def _errors_explained(host: str) -> Iterator[None]:
    expected = f"Expected the API of Kubeflow Pipelines 2 at {host}"
    try:
        yield
    except kfp_server_api.ApiException as error:
        raise ClusterError(
            f"{expected} to accept the request, but it responded {error.status}: {error.body}\n"
            "Check the run id, the namespace and your permissions."
        ) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise ClusterError(
            f"{expected}, but: {error}\nCheck the address (for a cluster of your own: `kubectl port-forward -n "
            "kubeflow svc/ml-pipeline-ui 8080:80`, then --host http://localhost:8080), and set KFP_TOKEN if the "
            "server requires a login."
        ) from error
