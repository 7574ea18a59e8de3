"""Score an archive in pods: the steps of `pneumonia score`, one per task."""

import os
from pathlib import Path

from pneumonia.bundle import bundle as bundles
from pneumonia.monitoring.record import ModelIdentity
from pneumonia.registry import resolve
from pneumonia.scoring import plan as plans
from pneumonia.scoring import shard_workers, shards
from pneumonia.scoring.place import Place

LOG = "PNEUMONIA_LOG"
"""Environment variable with the URL of the prediction log; pods without it log no predictions."""


def list_images(source: str, out: str, bundle: str, shard_size: int, endpoint: str) -> list[int]:
    """Write the plan, or resume an existing one; return the numbers of the shards that remain to be scored.

    Args:
        source: folder or bucket with the images.
        out: folder or bucket for the result, which all pods can write to.
        bundle: folder of the model; empty for the champion, or the release.
        shard_size: images per shard.
        endpoint: address of an S3-compatible server; empty for the provider's own.

    Raises:
        ScoringError: as for `pneumonia.scoring.plan.make`.
    """
    _set_endpoint(endpoint)
    resolved = _resolve(bundle)
    place = Place(out)
    identity = ModelIdentity.of(bundles.read(resolved.folder).card, resolved.version)
    plan = plans.make(Place(source), place, identity, shard_size)
    remaining = shards.pending(plan, place)
    print(
        f"{plan.images:,} images by {plan.model}: {len(remaining)} of {len(plan.shard_numbers)} shards remain",
        flush=True,
    )
    return remaining


def score(out: str, bundle: str, shard: int, endpoint: str) -> None:
    """Score one shard of a plan; a finished shard is not scored again."""
    _set_endpoint(endpoint)
    job = shard_workers.ScoringJob(plans.read(Place(out)), out, _resolve(bundle).folder, os.environ.get(LOG))
    shard_workers.score_shard(job, shard)


def merge(out: str, endpoint: str) -> dict[str, int]:
    """Merge the shards; return the number of images per decision."""
    _set_endpoint(endpoint)
    place = Place(out)
    return shards.merge(plans.read(place), place).decisions


def _set_endpoint(endpoint: str) -> None:
    if endpoint:
        os.environ["AWS_ENDPOINT_URL"] = endpoint


def _resolve(bundle: str) -> resolve.ResolvedBundle:
    return resolve.resolve_bundle(Path(), Path(bundle) if bundle else None)
