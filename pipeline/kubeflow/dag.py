"""The DAG of dvc.yaml as DVC resolves it: its stages, with matrices expanded, and the dependencies between them."""

from dataclasses import dataclass
from pathlib import Path

from pneumonia.core.errors import ClusterError


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml.

    Attributes:
        name: as ``dvc repro`` takes it, such as ``train@cnn``.
        parents: names of the stages whose outputs it reads, sorted.
    """

    name: str
    parents: tuple[str, ...]

    @property
    def family(self) -> str:
        """Name without the item of a matrix: ``train`` for ``train@cnn``."""
        return self.name.partition("@")[0]

    @property
    def item(self) -> str:
        """Item of a matrix: ``cnn`` for ``train@cnn``; empty for a stage without a matrix."""
        return self.name.partition("@")[2]


def read(folder: Path) -> tuple[Stage, ...]:
    """Return the stages of a DVC project, each after its parents; the same project always gives the same order.

    Raises:
        ClusterError: DVC cannot resolve dvc.yaml with params.yaml.
    """
    import networkx
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

    try:
        with Repo(str(folder)) as repo:
            graph = repo.index.graph
            position = {stage: number for number, stage in enumerate(repo.index.stages)}
            parents_first = networkx.lexicographical_topological_sort(graph.reverse(), key=position.__getitem__)
            return tuple(
                Stage(
                    stage.name, tuple(sorted(p.name for p in graph.successors(stage) if isinstance(p, PipelineStage)))
                )
                for stage in parents_first
                if isinstance(stage, PipelineStage)
            )
    except DvcException as error:
        raise ClusterError(f"DVC cannot resolve the DAG: {error}\nCorrect dvc.yaml or params.yaml.") from error
