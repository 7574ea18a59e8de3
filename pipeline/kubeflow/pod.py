"""Run one stage of dvc.yaml in a pod: in a temporary folder, with its data fetched from and pushed to the DVC remote.

Tasks pass each other the paths and hashes of outputs (`Outputs`); the content is in the remote, and every file is
hashed again when it is fetched. DVC's run cache decides whether a stage has to run, so that results of another machine
or of another run are reused.
"""

import collections
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pipeline import project
from pipeline.kubeflow import run_record
from pneumonia.core import paths
from pneumonia.core.errors import ClusterError, PneumoniaError

REGISTER = "register"
"""The stage that writes to MLflow."""
LAST_LINES = 15
"""Lines of a stage's output that are kept as the reason of its failure."""
Outputs = dict[str, str]
"""Path of each output of stages, with DVC's hash of its content."""


@dataclass(frozen=True)
class RunContext:
    """What all tasks of a run share.

    Attributes:
        run: id of the Kubeflow run.
        params: content of params.yaml, as JSON.
        remote: DVC remote: a URL or a folder.
        endpoint: address of an S3-compatible server; empty for the provider's own.
        mlflow_ui: address of the MLflow UI for links; empty for that of the tracking server.
    """

    run: str
    params: str
    remote: str
    endpoint: str
    mlflow_ui: str = ""


def run_stage(context: RunContext, name: str, inputs: str) -> tuple[str, str]:
    """Run a stage, or restore its result from the run cache, and push its outputs.

    Args:
        context: of the run.
        name: of the stage, as ``dvc repro`` takes it.
        inputs: outputs of earlier tasks, as this function returns them.

    Returns:
        The stage's outputs for later tasks, as `encoded` text, and a Markdown page for Kubeflow.
    """
    with failure_recorded(context, name):
        _require_tracking_server()
        with workspace(context) as folder:
            stage = _stages(folder)[name]
            fetch(folder, decoded(inputs), stage["deps"])
            restored = _reproduce(folder, name)
            outputs = _push(folder, name)
            return encoded(outputs), _page(context, folder, name, outputs, restored)


@contextlib.contextmanager
def failure_recorded(context: RunContext, name: str) -> Iterator[None]:
    """Write the message of an error in the block to the remote, for the run's record, and exit with that message."""
    try:
        yield
    except Exception as error:
        run_record.write_failure(context.remote, context.endpoint, context.run, name, str(error))
        if isinstance(error, PneumoniaError):
            sys.exit(f"error: {error}")
        raise


def _require_tracking_server() -> None:
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise ClusterError(
            "Expected MLFLOW_TRACKING_URI to be the address of the MLflow server that all pods share, but it is not "
            "set. Runs logged to a store in the pod would be lost. Put the address into the secret that "
            f"kubeflow.secrets.mlflow of {paths.OPERATIONS} names."
        )


@contextlib.contextmanager
def workspace(context: RunContext) -> Iterator[Path]:
    """Make a temporary copy of this project with the run's params and remote the current folder of the block."""
    with tempfile.TemporaryDirectory(prefix="pneumonia-") as name, contextlib.chdir(name):
        folder = Path(name)
        project.copy(folder)
        params = yaml.safe_dump(json.loads(context.params), sort_keys=False)
        (folder / paths.PARAMS).write_text(params, encoding="utf-8")
        _cache_all_outputs(folder / "dvc.yaml")
        remote: dict[str, Any] = {"url": context.remote, "verify": True}
        endpoint = {"endpointurl": context.endpoint} if context.endpoint else {}
        project.make_dvc(folder, remote | endpoint, temporary=True)
        yield folder


def fetch(folder: Path, outputs: Outputs, wanted: Iterable[str]) -> None:
    """Pull files and folders into a workspace, and check their content against the hashes.

    Args:
        folder: the workspace.
        outputs: of earlier tasks.
        wanted: paths of outputs to pull, of folders that contain outputs, or of files in an output. Other outputs are
            not pulled.

    Raises:
        ClusterError: content is missing in the remote, or does not have its hash.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    targets = list(dict.fromkeys(_targets(wanted, outputs)))
    if not targets:
        return
    entries = {
        name: {"cmd": stage["cmd"], "outs": [_entry(path, outputs[path]) for path in stage["outs"] if path in outputs]}
        for name, stage in _stages(folder).items()
    }
    lock = {"schema": "2.0", "stages": {name: entry for name, entry in entries.items() if entry["outs"]}}
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
    try:
        with Repo(str(folder)) as repo:
            repo.pull(targets=targets)
    except DvcException as error:
        raise ClusterError(
            f"Expected {', '.join(targets)} in the remote, as earlier tasks have pushed them: {error}\n"
            "Content that is missing or was changed there is not used. Submit the run again: stages whose outputs are "
            "intact are restored, not repeated."
        ) from error


def _targets(wanted: Iterable[str], outputs: Iterable[str]) -> Iterator[str]:
    """Yield the outputs that lie in a wanted path, and the wanted paths that lie in an output."""
    outputs = list(outputs)
    for path in wanted:
        for output in outputs:
            if PurePosixPath(output).is_relative_to(path):
                yield output
            elif PurePosixPath(path).is_relative_to(output):
                yield path


def _entry(path: str, digest: str) -> dict[str, str]:
    return {"path": path, "hash": "md5", "md5": digest}


def _cache_all_outputs(file: Path) -> None:
    """Let DVC cache the outputs with ``cache: false`` too, which are in git elsewhere; dvc.lock stays the same."""
    definition = yaml.safe_load(file.read_text(encoding="utf-8"))
    for stage in definition["stages"].values():
        for kind in ("outs", "metrics", "plots"):
            for output in stage.get(kind, ()):
                if isinstance(output, dict):
                    for options in output.values():
                        options.pop("cache", None)
    file.write_text(yaml.safe_dump(definition, sort_keys=False), encoding="utf-8")


def _stages(folder: Path) -> dict[str, dict[str, Any]]:
    """Return command, dependencies and outputs of each stage; DVC has no public interface that resolves them."""
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

    with Repo(str(folder)) as repo:
        return {
            stage.name: {
                "cmd": stage.cmd,
                "deps": [dep.def_path for dep in stage.deps],
                "outs": [out.def_path for out in stage.outs],
            }
            for stage in repo.index.stages
            if isinstance(stage, PipelineStage)
        }


def _reproduce(folder: Path, name: str) -> bool:
    """Run ``dvc repro`` on one stage; return whether its result was restored from the run cache."""
    environment = os.environ | {
        "PYTHONPATH": str(folder / "src"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", "--pull", name]
    last_lines: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
    restored = False
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            restored |= "is cached - skipping run" in line
            last_lines.append(line.rstrip())
    if process.returncode:
        output = "\n".join(filter(None, last_lines))
        raise ClusterError(f"stage {name} failed with status {process.returncode}. Its last output:\n{output}")
    return restored


def _push(folder: Path, name: str) -> Outputs:
    """Push the outputs of a stage and its entry in the run cache; return the outputs."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    lock = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))
    outputs = {out["path"]: out["md5"] for out in lock["stages"][name]["outs"]}
    try:
        with Repo(str(folder)) as repo:
            repo.push(targets=list(outputs), run_cache=True)
    except DvcException as error:
        raise ClusterError(
            f"The outputs of {name} cannot be pushed: {error}\n"
            "Expected a remote that this pod can write to. Check its address, its secret and its free space."
        ) from error
    return outputs


def _page(context: RunContext, folder: Path, name: str, outputs: Outputs, restored: bool) -> str:
    lines = [
        f"# {name}",
        "Restored: an earlier run with the same inputs produced these outputs." if restored else "Run in this pod.",
    ]
    if name == REGISTER:
        lines.append("\n".join(f"- {link}" for link in _mlflow_links(context, folder)))
    return "\n\n".join([*lines, "\n".join(f"- `{path}` {digest}" for path, digest in outputs.items())]) + "\n"


def _mlflow_links(context: RunContext, folder: Path) -> Iterator[str]:
    """Yield a Markdown link to the MLflow run of each model, and tag the run with the Kubeflow run."""
    from pneumonia.bundle import bundle as bundles
    from pneumonia.registry import tracking

    store = tracking.open_store(folder)
    ui = context.mlflow_ui or store.uri
    for card_file in sorted((folder / paths.BUNDLES).glob(f"*/{bundles.CARD_FILE}")):
        bundle = bundles.read(card_file.parent)
        run_id = tracking.find_run(store, bundle)
        if run_id is None:
            continue
        with tracking.explain_refusals():
            store.client.set_tag(run_id, "kubeflow_run", context.run)
        page = f"{_without_credentials(ui)}/#/experiments/{store.experiment_id}/runs/{run_id}"
        yield f"MLflow run of {bundle.card.name}: {f'[{run_id}]({page})' if ui.startswith('http') else run_id}"


def _without_credentials(address: str) -> str:
    scheme, _, rest = address.rstrip("/").partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def encoded(outputs: Mapping[str, str]) -> str:
    """Return paths and hashes on one line, without characters that Kubeflow's placeholders would alter.

    Examples:
        >>> encoded({"reports/split.json": "d41d8c"})
        'reports/split.json@d41d8c'
    """
    return " ".join(f"{path}@{digest}" for path, digest in outputs.items())


def decoded(text: str) -> Outputs:
    """Return the outputs that `encoded` has written; several lines may be joined by blanks."""
    pairs = (entry.rpartition("@") for entry in text.split())
    return {path: digest for path, _, digest in pairs}
