"""A small DVC project on phantoms, and commands run in it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import demo

MODELS = ("cnn", "mobilenetv2")
SMALL: dict[str, Any] = {
    "data": {"source": "phantom", "phantom": {"patients": 48, "size": 96, "difficulty": 0.0}},
    "validate": {"minimum_pixels": 50},
    "split": {"folds": 3},
    "prepare": {"size": 64},
    "train": {
        "models": {
            "probe": None,
            "cnn": {"filters": [8, 16], "epochs": 4},
            # A tiny network under the name of the default model, so that the README's commands take seconds.
            "mobilenetv2": {
                "kind": "cnn",
                "filters": [4],
                "epochs": 1,
                "learning_rate": 0.01,
                "backbone": None,
                "backbone_options": None,
                "weights": None,
                "train_size": None,
            },
        }
    },
    "evaluate": {"bootstrap": {"resamples": 200}},
}
"""Changes of params.yaml, as `pipeline.demo.CHANGES`."""


class Project:
    """A DVC project in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, check: bool = True, **environment: str) -> str:
        """Run a command in the project and return its output; fail the test where it fails."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=demo.environment(self.folder) | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def dvc(self, *arguments: str, **environment: str) -> str:
        """Run a DVC command."""
        return self.run(sys.executable, "-m", "dvc", *arguments, **environment)

    def json(self, name: str) -> Any:
        """Read a JSON file of the project."""
        return json.loads((self.folder / name).read_text())

    def outs(self) -> dict[str, str]:
        """Return the hash of every stage output by its path, from dvc.lock."""
        lock = yaml.safe_load((self.folder / "dvc.lock").read_text())
        return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}

    def copy(self, folder: Path) -> "Project":
        """Copy the project, with its cache and MLflow store."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)


def create(folder: Path) -> Project:
    """Create the project in a git repository and commit it; nothing has run yet."""
    project = Project(folder)
    demo.make_project(folder, SMALL)
    project.dvc("config", "core.no_scm", "false")
    for name in (".gitignore", "mlruns/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(demo.PROJECT / name, folder / name)
    project.run("git", "init", "-q", "-b", "main")
    project.run("git", "config", "user.name", "A Tester")
    project.run("git", "config", "user.email", "tester@example.org")
    project.run("git", "add", ".")
    project.run("git", "commit", "-q", "-m", "A project")
    return project
