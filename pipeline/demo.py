"""``make demo``: the whole DAG on embedded phantoms, in a folder of its own that the real pipeline never sees.

The folder is a small DVC project without git: a copy of dvc.yaml and of the code, and params.yaml with `CHANGES`. A
second call refreshes the copy, and DVC runs only what changed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline import project

DVC = (sys.executable, "-m", "dvc")
PROJECT = project.ROOT
DEMO = PROJECT / "demo"
CHANGES: dict[str, Any] = {
    "data": {"source": "phantom", "phantom": {"patients": 500, "difficulty": 0.3}},
    "prepare": {"size": 128},
    # No download of weights, and so no models that stand on them: two networks from scratch.
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
"""Laid over params.yaml; None takes a key away."""


def main() -> None:
    """Run the DAG on phantoms and print what came of it."""
    make_project(DEMO, CHANGES)
    print(f"The whole pipeline on phantoms (drawings, not patients), in {DEMO}", flush=True)
    code = subprocess.run([*DVC, "repro"], cwd=DEMO, env=environment(DEMO), check=False).returncode
    if code:
        sys.exit(code)
    _print_results(DEMO)


def make_project(folder: Path, changes: Mapping[str, Any]) -> None:
    """Put a DVC project without git into ``folder``: this project's DAG and code, and its params with ``changes``."""
    project.copy(folder)
    params = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    changed = yaml.safe_dump(project.merged(params, changes), sort_keys=False)
    (folder / "params.yaml").write_text(changed, encoding="utf-8")
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

    metrics = json.loads((folder / "reports/metrics.json").read_text(encoding="utf-8"))
    registered = json.loads((folder / "reports/registered.json").read_text(encoding="utf-8"))
    columns = ("roc_auc", "accuracy", "sensitivity", "specificity")
    table = Table("model", *columns, title="Phantom test set")
    for model, subsets in metrics.items():
        table.add_row(model, *(f"{subsets['test'][column]:.3f}" for column in columns))
    console = Console()
    console.print()
    console.print(table)
    console.print(
        f"Registered: {registered['model']} as {registered['name']} (it has the best {registered['metric']} on "
        f"{registered['subset']} validation images), alias {registered['alias']}, marked as a phantom model.\n"
        "The models that stand on ImageNet weights are left out here: the demo downloads nothing.\n\n"
        "Next:\n"
        "  make ui STORE=demo   the runs, curves and figures in the MLflow UI\n"
        "  make repro           the same pipeline on the real radiographs (downloads 1.2 GB)\n"
        "  make help            everything else",
        highlight=False,
    )


if __name__ == "__main__":
    main()
