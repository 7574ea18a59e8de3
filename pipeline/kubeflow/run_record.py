"""The record of a Kubeflow run, in the folder ``kubeflow/<run>/`` of the DVC remote.

A pod that fails writes its stage and message there. The exit task, which always runs, collects them in one file.
"""

import json
from typing import Any

RECORD = "run.json"


def write_failure(remote: str, endpoint: str, run: str, stage: str, message: str) -> None:
    """Write the message of a failed stage to the remote. A failure to write is printed, never raised."""
    try:
        files, folder = _open(remote, endpoint, run)
        files.makedirs(folder, exist_ok=True)
        files.pipe_file(f"{folder}/{stage}.json", json.dumps({"stage": stage, "message": message}).encode())
    except Exception as error:  # the libraries of remotes raise many types
        print(f"The message of the failed stage {stage} cannot be written to {remote}: {error}", flush=True)


def close(remote: str, endpoint: str, run: str, state: str, explanation: str) -> str:
    """Write the run's record, ``run.json``, and return it as a Markdown page.

    Args:
        remote: DVC remote: a URL or a folder.
        endpoint: address of an S3-compatible server; empty for the provider's own.
        run: id of the Kubeflow run.
        state: final state of the run, as Kubeflow names it ("SUCCEEDED", "FAILED").
        explanation: Kubeflow's error message, which is often generic.
    """
    files, folder = _open(remote, endpoint, run)
    written = sorted(path for path in files.glob(f"{folder}/*.json") if not str(path).endswith(f"/{RECORD}"))
    failures: list[dict[str, str]] = [json.loads(files.cat_file(path)) for path in written]
    files.makedirs(folder, exist_ok=True)
    record: dict[str, Any] = {"run": run, "state": state, "explanation": explanation, "failures": failures}
    files.pipe_file(f"{folder}/{RECORD}", (json.dumps(record, indent=2) + "\n").encode())
    return _page(record)


def _page(record: dict[str, Any]) -> str:
    lines = [f"# {record['state']}", f"Kubeflow run {record['run']}"]
    if record["state"] != "SUCCEEDED" and not record["failures"]:
        lines.append(
            "No stage wrote a message: a pod may have been evicted, or have run out of memory. Kubeflow's message: "
            f"{record['explanation'] or 'none'}"
        )
    for failure in record["failures"]:
        retried = " A retry succeeded." if record["state"] == "SUCCEEDED" else ""
        lines.append(
            f"## Stage {failure['stage']} failed{'.' if retried else ''}{retried}\n\n```\n{failure['message']}\n```"
        )
    return "\n\n".join(lines) + "\n"


def _open(remote: str, endpoint: str, run: str) -> tuple[Any, str]:
    import fsspec

    options = {"endpoint_url": endpoint} if endpoint else {}
    files, folder = fsspec.core.url_to_fs(f"{remote.rstrip('/')}/kubeflow/{run}", **options)
    return files, str(folder)
