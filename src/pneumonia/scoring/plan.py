"""Plan of a batch scoring, written before it starts: the files, their shards, and the model."""

import hashlib
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from uuid import UUID, uuid4, uuid5

import pandas as pd

from pneumonia.core.errors import ScoringError
from pneumonia.core.model import FrozenModel
from pneumonia.images.formats import EXPECTED_FILES, is_image
from pneumonia.monitoring.record import ModelIdentity
from pneumonia.scoring.place import Place

PLAN = "plan.json"
LISTING = "listing.parquet"
LISTING_THREADS = 16


class ScoringPlan(FrozenModel):
    """Plan of a batch scoring.

    Attributes:
        run: random UUID; identifiers of predictions are derived from it, so that they reveal nothing about file names.
        source: folder or bucket with the images.
        listing_sha256: hash of names and sizes of the images.
        images: number of images.
        skipped: number of other files in the source.
        shard_size: number of images in a shard; the last shard may have fewer.
        model: name of the model in params.yaml.
        version: version in the registry; None for a bundle that is not from the registry.
        bundle_sha256: hash of the model's bundle.
    """

    run: str
    source: str
    listing_sha256: str
    images: int
    skipped: int
    shard_size: int
    model: str
    version: int | None
    bundle_sha256: str

    @property
    def shard_numbers(self) -> range:
        """Numbers of all shards."""
        return range(-(-self.images // self.shard_size))

    def id_of(self, name: str) -> UUID:
        """Return the identifier of the prediction for a file, which is the same if a shard is scored again."""
        return uuid5(UUID(self.run), name)

    def length(self, shard: int) -> int:
        """Return the number of images in a shard."""
        return min(self.shard_size, self.images - shard * self.shard_size)

    def names(self, out: Place, shard: int) -> list[str]:
        """Return the file names of a shard, in order."""
        listing = pd.read_parquet(io.BytesIO(out.read(LISTING)), columns=["file"])["file"]
        return list(listing.iloc[shard * self.shard_size :][: self.length(shard)])


def make(source: Place, out: Place, model: ModelIdentity, shard_size: int) -> ScoringPlan:
    """List the images and write the plan, or resume an existing plan.

    Args:
        source: folder or bucket with the images.
        out: folder or bucket for the result.
        model: the model.
        shard_size: number of images in a shard.

    Raises:
        ScoringError: the source has no image, or ``out`` has the plan of other images, another model or shard size.
    """
    sizes = source.files()
    with ThreadPoolExecutor(LISTING_THREADS) as pool:  # names without a suffix cost a request each
        accepted = pool.map(
            lambda name: is_image(PurePosixPath(name), lambda: source.read_head(name) if sizes[name] else b""), sizes
        )
        images = {name: sizes[name] for name, is_accepted in zip(sizes, accepted, strict=True) if is_accepted}
    if not images:
        raise ScoringError(f"{source.url} has no image ({EXPECTED_FILES}). Name a folder that has some.")
    listing = pd.DataFrame(sorted(images.items()), columns=["file", "size"])
    new = ScoringPlan(
        run=str(uuid4()),
        source=source.url,
        listing_sha256=_digest(images),
        images=len(listing),
        skipped=len(sizes) - len(images),
        shard_size=shard_size,
        model=model.name,
        version=model.version,
        bundle_sha256=model.bundle_sha256,
    )
    if out.has(PLAN):
        return _resume(read(out), new, out)
    content = io.BytesIO()
    listing.to_parquet(content, index=False)
    out.write(LISTING, content.getvalue())
    out.write(PLAN, new.model_dump_json(indent=2).encode())
    return new


def read(out: Place) -> ScoringPlan:
    """Read the plan of a scoring.

    Raises:
        ScoringError: there is no plan, or it is not of this version.
    """
    try:
        return ScoringPlan.model_validate_json(out.read(PLAN))
    except (OSError, ValueError) as error:
        raise ScoringError(f"{out.url} has no readable plan ({error}). Start with `pneumonia score`.") from error


def _resume(existing: ScoringPlan, new: ScoringPlan, out: Place) -> ScoringPlan:
    compared = {
        "images": (existing.listing_sha256, new.listing_sha256),
        "model": (existing.bundle_sha256, new.bundle_sha256),
        "shard size": (existing.shard_size, new.shard_size),
    }
    if different := [name for name, (before, now) in compared.items() if before != now]:
        raise ScoringError(
            f"{out.url} has a scoring with a different {' and '.join(different)} ({existing.images:,} images, model "
            f"{existing.model} {existing.bundle_sha256[:10]}, shard size {existing.shard_size}). Resume with the same "
            "settings, or choose another folder (--out)."
        )
    return existing


def _digest(images: Mapping[str, int]) -> str:
    digest = hashlib.sha256()
    for name in sorted(images):
        digest.update(f"{images[name]}\t{name}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
