"""Follow a training in MLflow while it lasts. Nothing depends on it: a store that fails never stops a training.

The stage *register* writes the runs; it adopts the run logged here by the hash of its weights.
"""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pneumonia.arrays.store import ImageStore
from pneumonia.core.errors import TrackingError

if TYPE_CHECKING:
    from pneumonia.registry.tracking import Run


class LiveCurves:
    """Log the metrics of each epoch into an MLflow run."""

    def __init__(self, run: "Run | None" = None) -> None:
        """Log into ``run``; without one, log nothing."""
        self._run = run

    def log(self, epoch: int, metrics: dict[str, float]) -> None:
        """Log the metrics of an epoch, counted from 1."""
        self._try(lambda run: run.log_metrics(metrics, epoch))

    def finish(self, model_sha256: str) -> None:
        """Mark the run as the one that trained these weights."""
        self._try(lambda run: run.finish_training(model_sha256))

    def _try(self, write: "Callable[[Run], None]") -> None:
        if self._run is None:
            return
        try:
            write(self._run)
        except Exception as error:  # whatever MLflow, its database driver or its HTTP client raises
            print(f"MLflow does not answer ({error}); the training continues without live curves.", flush=True)
            self._run = None


@contextmanager
def follow(
    name: str, kind: str, data: ImageStore, parameters: Mapping[str, str | int | float | bool], run_file: Path
) -> Iterator[LiveCurves]:
    """Yield the live curves of one training.

    Args:
        name: of the model in params.yaml.
        kind: of its recipe.
        data: the images that it is trained on.
        parameters: flat settings of the training.
        run_file: keeps the run's id between epochs, so that an interrupted training resumes its run.
    """
    from pneumonia.bundle.bundle import DataLineage
    from pneumonia.registry import tracking  # here, because MLflow takes seconds

    lineage = DataLineage(data.source, data.release, data.data_hash, data.counts())
    description = tracking.RunDescription(name, kind, lineage, parameters, git_commit())
    with ExitStack() as stack:
        try:
            previous = run_file.read_text(encoding="utf-8") if run_file.is_file() else None
            run = stack.enter_context(tracking.start_run(tracking.open_store(Path()), description, previous))
            run_file.parent.mkdir(parents=True, exist_ok=True)
            run_file.write_text(run.run_id, encoding="utf-8")
        except TrackingError as error:
            print(f"No live curves: {error}", flush=True)
            yield LiveCurves()
            return
        yield LiveCurves(run)
        try:
            stack.close()
        except TrackingError as error:
            print(f"The MLflow run of {name} could not be ended: {error}", flush=True)


def git_commit() -> str | None:
    """Return the commit of the code, or None outside of git."""
    try:
        git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return git.stdout.strip() if git.returncode == 0 else None
