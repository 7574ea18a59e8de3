"""``make demo``: the whole DAG on embedded phantoms, in a folder of its own.

The folder is a small DVC project without git: a copy of dvc.yaml and of the code, and params.yaml with `CHANGES`. A
second call refreshes the copy, and DVC runs only what changed.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline import project
from pneumonia.core import files, paths
from pneumonia.evaluation.evaluation_report import MetricsReport
from pneumonia.registry.registration_report import Registration

DVC = (sys.executable, "-m", "dvc")
PROJECT = project.ROOT
DEMO = PROJECT / "demo"
CHANGES: dict[str, Any] = {
    "data": {"source": "phantom", "phantom": {"patients": 500, "difficulty": 0.3}},
    "prepare": {"size": 128},
    # Models with ImageNet weights are left out, because the demo downloads nothing: two networks from scratch.
    "train": {
        "models": {
            "probe": None,
            "mobilenetv2": None,
            "cnn": {"epochs": 16, "patience": 16},
            "cnn_narrow": {
                "kind": "cnn",
                "filters": [8, 16, 32],
                "epochs": 10,
                "batch_size": 32,
                "learning_rate": 0.004,
            },
        }
    },
    "register": {"name": "pneumonia-phantom"},
}
"""Changes of params.yaml; None removes a key."""


def main(folder: Path = DEMO, changes: Mapping[str, Any] = CHANGES) -> None:
    """Run the DAG on phantoms in a folder, and print the results."""
    make_project(folder, changes)
    print(f"The whole pipeline on phantoms (drawings, not patients), in {folder}", flush=True)
    code = subprocess.run([*DVC, "repro"], cwd=folder, env=environment(folder), check=False).returncode
    if code:
        sys.exit(code)
    _print_results(folder)


def make_project(folder: Path, changes: Mapping[str, Any]) -> None:
    """Create a DVC project without git in ``folder``: this project's DAG and code, and its params with ``changes``."""
    project.copy(folder)
    params = yaml.safe_load((PROJECT / paths.PARAMS).read_text(encoding="utf-8"))
    changed = yaml.safe_dump(project.merged(params, changes), sort_keys=False)
    (folder / paths.PARAMS).write_text(changed, encoding="utf-8")
    project.make_dvc(folder)


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a project made by `make_project`: its own code, and its own MLflow store."""
    inherited = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return inherited | {
        "PYTHONPATH": str(folder / "src"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


def _print_results(folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = ("roc_auc", "accuracy", "sensitivity", "specificity")
    table = Table("model", *columns, title="Phantom test set")
    for file in sorted((folder / paths.METRICS).glob("*.json")):
        test = files.read_json(file, MetricsReport).root["test"]
        table.add_row(file.stem, *(f"{test[column]:.3f}" for column in columns))
    registered = files.read_json(folder / paths.REGISTRATION, Registration)
    console = Console()
    console.print()
    console.print(table)
    console.print(
        f"Registered: {registered.model} as {registered.name} (it has the best {registered.metric} on "
        f"{registered.subset} validation images), alias {registered.alias}, marked as a phantom model.\n"
        "Models with ImageNet weights are left out: the demo downloads nothing.\n\n"
        "Next:\n"
        "  make ui STORE=demo   runs, curves and figures in the MLflow UI\n"
        "  make repro           the same pipeline on the real radiographs (downloads 1.2 GB)\n"
        "  make help            all other targets",
        highlight=False,
    )


if __name__ == "__main__":
    main()
