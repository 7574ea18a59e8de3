"""What became of a Kubeflow run, kept beside the data: ``kubeflow/<run>/`` in the remote.

A pod that fails leaves its stage and message there; the exit handler, which runs whatever happens, gathers them.
"""

import json
from typing import Any

RECORD = "run.json"


def write_failure(remote: str, endpoint: str, run: str, stage: str, message: str) -> None:
    """Leave why a stage failed. A remote that cannot be written to is told, and hides nothing."""
    try:
        files, folder = _open(remote, endpoint, run)
        files.makedirs(folder, exist_ok=True)
        files.pipe_file(f"{folder}/{stage}.json", json.dumps({"stage": stage, "message": message}).encode())
    except Exception as error:  # whatever the library of a remote raises
        print(f"The failure of {stage} cannot be kept in {remote}: {error}", flush=True)


def close(remote: str, endpoint: str, run: str, state: str, explanation: str) -> str:
    """Write the run's record, ``run.json``, and return a page in Markdown that says the same.

    Args:
        remote: DVC remote: a URL or a folder.
        endpoint: address of an S3-compatible server, or empty.
        run: id of the Kubeflow run.
        state: how it ended, in Kubeflow's words.
        explanation: what Kubeflow says of it; it often says no more than that something failed.
    """
    files, folder = _open(remote, endpoint, run)
    found = sorted(path for path in files.glob(f"{folder}/*.json") if not str(path).endswith(f"/{RECORD}"))
    failures: list[dict[str, str]] = [json.loads(files.cat_file(path)) for path in found]
    files.makedirs(folder, exist_ok=True)
    record: dict[str, Any] = {"run": run, "state": state, "explanation": explanation, "failures": failures}
    files.pipe_file(f"{folder}/{RECORD}", (json.dumps(record, indent=2) + "\n").encode())
    return _page(record)


def _page(record: dict[str, Any]) -> str:
    lines = [f"# {record['state']}", f"Kubeflow run {record['run']}"]
    if record["state"] != "SUCCEEDED" and not record["failures"]:
        lines.append(f"No stage left a message. Was a pod evicted, or out of memory? {record['explanation']}")
    for failure in record["failures"]:
        again = " It was tried again." if record["state"] == "SUCCEEDED" else ""
        lines.append(f"## {failure['stage']} failed{again}\n\n```\n{failure['message']}\n```")
    return "\n\n".join(lines) + "\n"


def _open(remote: str, endpoint: str, run: str) -> tuple[Any, str]:
    import fsspec

    options = {"endpoint_url": endpoint} if endpoint else {}
    files, folder = fsspec.core.url_to_fs(f"{remote.rstrip('/')}/kubeflow/{run}", **options)
    return files, str(folder)
