"""The DAG of dvc.yaml as DVC resolves it: stages, the matrix spread out, and which needs what another makes."""

from dataclasses import dataclass
from pathlib import Path

from pneumonia.errors import ClusterError


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml.

    Attributes:
        name: as ``dvc repro`` takes it, such as ``train@cnn``.
        parents: stages whose outputs it reads, sorted.
    """

    name: str
    parents: tuple[str, ...]

    @property
    def family(self) -> str:
        """The name without the item of a matrix: ``train`` for ``train@cnn``."""
        return self.name.partition("@")[0]

    @property
    def item(self) -> str:
        """The item of a matrix: ``cnn`` for ``train@cnn``; empty for others."""
        return self.name.partition("@")[2]


def read(folder: Path) -> tuple[Stage, ...]:
    """Return the stages of a DVC project, each after its parents; always in the same order.

    Raises:
        ClusterError: DVC cannot make sense of dvc.yaml and params.yaml.
    """
    import networkx
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

    try:
        with Repo(str(folder)) as repo:
            graph = repo.index.graph
            places = {stage: place for place, stage in enumerate(repo.index.stages)}
            parents_first = networkx.lexicographical_topological_sort(graph.reverse(), key=places.__getitem__)
            return tuple(
                Stage(
                    stage.name, tuple(sorted(p.name for p in graph.successors(stage) if isinstance(p, PipelineStage)))
                )
                for stage in parents_first
                if isinstance(stage, PipelineStage)
            )
    except DvcException as error:
        raise ClusterError(f"DVC cannot resolve the DAG: {error}\nMend dvc.yaml or params.yaml.") from error
