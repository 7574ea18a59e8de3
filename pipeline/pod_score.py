"""What the pods of the scoring pipeline do: the steps of `pneumonia score`, one by one."""

import os
from pathlib import Path
from typing import Any

from pneumonia import serving
from pneumonia.models import bundle as bundles
from pneumonia.monitoring.record import Answering
from pneumonia.scoring import plan as plans
from pneumonia.scoring import shards, workers
from pneumonia.scoring.place import Place

LOG = "PNEUMONIA_LOG"
"""Environment variable with the log of predictions; without it the pods log none, for theirs would be lost."""


def list_images(source: str, out: str, bundle: str, shard_size: int, endpoint: str) -> list[int]:
    """Write the plan, or go on with the one that is there; return the numbers of the shards that are left.

    Args:
        source: folder or bucket with the images.
        out: folder or bucket for the result, which all pods reach.
        bundle: folder of the model; empty for the champion, or the release.
        shard_size: images in a shard.
        endpoint: of an S3-compatible server; empty for the provider's own.

    Raises:
        ScoringError: as of `pneumonia.scoring.plan.make`.
    """
    _use(endpoint)
    choice = _choose(bundle)
    place = Place(out)
    answering = Answering.of(bundles.read(choice.folder).card, choice.version)
    plan = plans.make(Place(source), place, answering, shard_size)
    left = shards.left(plan, place)
    print(f"{plan.images:,} images by {plan.model}: {len(left)} of {len(plan.shards)} shards are left", flush=True)
    return left


def score(out: str, bundle: str, shard: int, endpoint: str) -> None:
    """Score one shard of a plan; one that is done stays as it is."""
    _use(endpoint)
    job = workers.Job(plans.read(Place(out)), out, _choose(bundle).folder, os.environ.get(LOG))
    workers.score_shard(job, shard)


def merge(out: str, endpoint: str) -> dict[str, int]:
    """Put the shards together; return how many images got each decision."""
    _use(endpoint)
    place = Place(out)
    summary: dict[str, Any] = shards.merge(plans.read(place), place)
    decisions: dict[str, int] = summary["decisions"]
    return decisions


def _use(endpoint: str) -> None:
    if endpoint:
        os.environ["AWS_ENDPOINT_URL"] = endpoint


def _choose(bundle: str) -> serving.Choice:
    return serving.choose(Path(), Path(bundle) if bundle else None)
