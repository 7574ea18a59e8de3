"""What happens in a pod: one stage of dvc.yaml in a folder of its own, its data brought from and to the remote.

Data moves by content: tasks hand each other the hashes of what they made (`Made`), and DVC's remote has the content.
Every file is hashed again on arrival. DVC's run cache decides whether a stage runs at all, so what was done on another
machine, or in another run, is not done again.
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

from pipeline import project, run_record
from pneumonia import config
from pneumonia.errors import ClusterError, PneumoniaError

LAST_LINES = 15
"""Of what a stage said, kept as the reason of its failure."""
Made = dict[str, str]
"""Outputs of stages by path, with DVC's hash of each."""


@dataclass(frozen=True)
class Work:
    """What all tasks of a run share.

    Attributes:
        run: id of the Kubeflow run.
        params: content of params.yaml, as JSON.
        remote: DVC remote: a URL or a folder.
        endpoint: address of an S3-compatible server, or empty.
    """

    run: str
    params: str
    remote: str
    endpoint: str


def run_stage(work: Work, name: str, inputs: str) -> tuple[str, str]:
    """Do a stage, or bring what an earlier run of it made, and push the result.

    Args:
        work: what the run is about.
        name: of the stage, as ``dvc repro`` takes it.
        inputs: what earlier tasks have made, as this function returns it.

    Returns:
        What it made, for later tasks, and a page in Markdown about it.
    """
    with failure_kept(work, name):
        _require_tracking_server()
        with workspace(work) as folder:
            stage = _stages(folder)[name]
            fetch(folder, decoded(inputs), stage["deps"])
            restored = _reproduce(folder, name)
            made = _push(folder, name)
            return encoded(made), _page(work, folder, name, made, restored)


@contextlib.contextmanager
def failure_kept(work: Work, name: str) -> Iterator[None]:
    """Leave why a block fails beside the data, for the run's record, and end the process with the message."""
    try:
        yield
    except Exception as error:
        run_record.write_failure(work.remote, work.endpoint, work.run, name, str(error))
        if isinstance(error, PneumoniaError):
            sys.exit(f"error: {error}")
        raise


def _require_tracking_server() -> None:
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise ClusterError(
            "Expected MLFLOW_TRACKING_URI to name the MLflow store that all pods share, but it is not set: what a pod "
            "logs in a store of its own is lost with the pod. Put the address into the secret kubeflow.secrets.mlflow "
            "of params.yaml."
        )


@contextlib.contextmanager
def workspace(work: Work) -> Iterator[Path]:
    """Make a folder with this project, its params and its remote, current while the block lasts and gone after it."""
    with tempfile.TemporaryDirectory(prefix="pneumonia-") as name, contextlib.chdir(name):
        folder = Path(name)
        project.copy(folder)
        params = yaml.safe_dump(json.loads(work.params), sort_keys=False)
        (folder / "params.yaml").write_text(params, encoding="utf-8")
        _keep_small_outputs_too(folder / "dvc.yaml")
        remote: dict[str, Any] = {"url": work.remote, "verify": True}
        project.make_dvc(folder, remote | ({"endpointurl": work.endpoint} if work.endpoint else {}), passing=True)
        yield folder


def fetch(folder: Path, made: Made, paths: Iterable[str]) -> None:
    """Bring files and folders into a workspace, each with the content that its maker has hashed.

    Args:
        folder: the workspace.
        made: outputs of earlier tasks; what ``paths`` do not ask for stays in the remote.
        paths: what is wanted; a folder of several outputs, or a file in one, may be named too.

    Raises:
        ClusterError: the remote lacks something, or has it with other content.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    wanted = list(dict.fromkeys(_overlaps(paths, made)))
    if not wanted:
        return
    entries = {
        name: {"cmd": stage["cmd"], "outs": [_entry(path, made[path]) for path in stage["outs"] if path in made]}
        for name, stage in _stages(folder).items()
    }
    lock = {"schema": "2.0", "stages": {name: entry for name, entry in entries.items() if entry["outs"]}}
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
    try:
        with Repo(str(folder)) as repo:
            repo.pull(targets=wanted)
    except DvcException as error:
        raise ClusterError(
            f"Expected {', '.join(wanted)} in the remote, as earlier tasks have pushed them: {error}\n"
            "Content that is missing or was changed there is not used. Submit the run again: stages whose output is "
            "whole are not repeated."
        ) from error


def _overlaps(paths: Iterable[str], outputs: Iterable[str]) -> Iterator[str]:
    """Yield what to pull of the outputs: whole ones that lie in a path, and paths that lie in an output."""
    outputs = list(outputs)
    for path in paths:
        for output in outputs:
            if PurePosixPath(output).is_relative_to(path):
                yield output
            elif PurePosixPath(path).is_relative_to(output):
                yield path


def _entry(path: str, digest: str) -> dict[str, str]:
    return {"path": path, "hash": "md5", "md5": digest}


def _keep_small_outputs_too(file: Path) -> None:
    """Let DVC move the outputs that elsewhere are in git; neither dvc.lock nor the run cache tell the difference."""
    definition = yaml.safe_load(file.read_text(encoding="utf-8"))
    for stage in definition["stages"].values():
        for kind in ("outs", "metrics", "plots"):
            for output in stage.get(kind, ()):
                if isinstance(output, dict):
                    for options in output.values():
                        options.pop("cache", None)
    file.write_text(yaml.safe_dump(definition, sort_keys=False), encoding="utf-8")


def _stages(folder: Path) -> dict[str, dict[str, Any]]:
    """Return command, dependencies and outputs of every stage, as DVC resolves dvc.yaml."""
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
    """Run ``dvc repro`` on one stage; return whether the run cache had its result."""
    environment = os.environ | {
        "PYTHONPATH": str(folder / "src"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", "--pull", name]
    last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
    restored = False
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            restored |= "is cached - skipping run" in line
            last.append(line.rstrip())
    if process.returncode:
        told = "\n".join(filter(None, last))
        raise ClusterError(f"stage {name} failed with status {process.returncode}. The last that it said:\n{told}")
    return restored


def _push(folder: Path, name: str) -> Made:
    """Push what a stage has made, and the entry of the run cache that says of what it was made."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    lock = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))
    made = {out["path"]: out["md5"] for out in lock["stages"][name]["outs"]}
    try:
        with Repo(str(folder)) as repo:
            repo.push(targets=list(made), run_cache=True)
    except DvcException as error:
        raise ClusterError(
            f"The results of {name} cannot be pushed: {error}\n"
            "Expected a remote that this pod may write to. Check its address, its secret and its free space."
        ) from error
    return made


def _page(work: Work, folder: Path, name: str, made: Made, restored: bool) -> str:
    lines = [f"# {name}", "Restored: an earlier run on the same inputs made it." if restored else "Run in this pod."]
    for card in sorted(folder.glob("artifacts/models/*/bundle.json")):
        if str(card.parent.relative_to(folder)) in made:
            lines.append(mlflow_link(work, folder, card.parent.name))
    return "\n\n".join([*lines, "\n".join(f"- `{path}` {digest}" for path, digest in made.items())]) + "\n"


def mlflow_link(work: Work, folder: Path, model: str) -> str:
    """Return a link in Markdown to the MLflow run of a model, which is tagged with the Kubeflow run.

    A store that does not know the run, as when another machine has trained the model, gets it from the bundle.
    """
    from pipeline import runs
    from pneumonia import tracking
    from pneumonia.models import bundle as bundles

    store = tracking.open_store(folder)
    run_id = runs.ensure(store, bundles.read(folder / "artifacts/models" / model))
    with tracking.explain_refusals():
        store.client.set_tag(run_id, "kubeflow_run", work.run)
    shown = config.load(folder / "params.yaml").kubeflow.mlflow_ui or store.uri
    page = f"{_without_credentials(shown)}/#/experiments/{store.experiment_id}/runs/{run_id}"
    return f"MLflow run of {model}: {f'[{run_id}]({page})' if shown.startswith('http') else run_id}"


def _without_credentials(address: str) -> str:
    scheme, _, rest = address.rstrip("/").partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def encoded(made: Mapping[str, str]) -> str:
    """Return paths and hashes on one line, without a character that a placeholder of Kubeflow would garble."""
    return " ".join(f"{path}@{digest}" for path, digest in made.items())


def decoded(text: str) -> Made:
    """Return what `encoded` has made a line of; several lines may be joined by blanks."""
    pairs = (entry.rpartition("@") for entry in text.split())
    return {path: digest for path, _, digest in pairs}


def share() -> int:
    """Push what is up to date in the current project to its default remote, as pods do; return how many results.

    DVC keeps stages with small outputs, which are in git here, out of the run cache; pods have no git. What its lock
    says of a stage enters the run cache only now.

    Raises:
        ClusterError: there is no remote, or it refuses.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

    try:
        with Repo() as repo, repo.lock:
            done = [stage for stage in repo.index.stages if isinstance(stage, PipelineStage) and not stage.changed()]
            for stage in done:
                repo.stage_cache.save(stage)
            results = repo.stage_cache.push(None)
            for store, objects in repo.stage_cache.get_used_objs(results).items():
                repo.cloud.push(objects, odb=store)
    except DvcException as error:
        raise ClusterError(
            f"The results cannot be pushed: {error}\nExpected a default remote, the one that the cluster uses: "
            "`dvc remote add --default NAME URL`."
        ) from error
    return len(results)
