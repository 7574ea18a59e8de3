"""Share the results of this machine with pods, through the DVC remote."""

from pneumonia.core.errors import ClusterError


def share() -> int:
    """Push the stages of the current project that are up to date to its default remote; return their number.

    ``dvc push --run-cache`` does not suffice: DVC leaves the small outputs that are in git here (``cache: false``) out
    of the cache, and pods have no git. Each stage's result is therefore saved to the run cache with all its outputs,
    as DVC does after running a stage in a pod. DVC has no public interface for this.

    Raises:
        ClusterError: there is no default remote, or it refuses.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

    try:
        with Repo() as repo, repo.lock:
            stages = [stage for stage in repo.index.stages if isinstance(stage, PipelineStage) and not stage.changed()]
            for stage in stages:
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
