"""What a scoring is to do, written down before it starts: the files, their shards, and the model."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from uuid import UUID, uuid4, uuid5

import pandas as pd

from pneumonia.errors import ScoringError
from pneumonia.inference.files import SUFFIXES
from pneumonia.monitoring.record import Answering
from pneumonia.scoring.place import Place

PLAN = "plan.json"
LISTING = "listing.parquet"


@dataclass(frozen=True)
class Plan:
    """See the module.

    Attributes:
        run: random; ids of predictions come from it, so that they tell nothing of names.
        source: folder or bucket with the images.
        listing_sha256: of names and sizes of the images.
        images: how many.
        skipped: files there that have no name of an image.
        shard_size: images in a shard; the last may have fewer.
        model: that answers.
        version: of it in the registry, None for a bundle that is not from there.
        bundle_sha256: of its weights.
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
    def shards(self) -> range:
        """Numbers of the shards."""
        return range(-(-self.images // self.shard_size))

    def id_of(self, name: str) -> UUID:
        """Return the id of the prediction for a file: the same whenever the shard is scored again."""
        return uuid5(UUID(self.run), name)

    def length(self, shard: int) -> int:
        """Return how many images a shard has."""
        return min(self.shard_size, self.images - shard * self.shard_size)

    def names(self, out: Place, shard: int) -> list[str]:
        """Return the names of a shard's images."""
        listing = pd.read_parquet(io.BytesIO(out.read(LISTING)), columns=["file"])["file"]
        return list(listing.iloc[shard * self.shard_size :][: self.length(shard)])


def make(source: Place, out: Place, answering: Answering, shard_size: int) -> Plan:
    """List the images, and write the plan; one that is there is gone on with.

    Raises:
        ScoringError: there is no image, or the folder holds a scoring of other images or by another model.
    """
    found = source.files()
    images = {name: size for name, size in found.items() if PurePosixPath(name).suffix.lower() in SUFFIXES}
    if not images:
        raise ScoringError(f"{source.url} has no image ({', '.join(SUFFIXES)}). Name a folder that has some.")
    listing = pd.DataFrame(sorted(images.items()), columns=["file", "size"])
    fresh = Plan(
        run=str(uuid4()),
        source=source.url,
        listing_sha256=_digest(images),
        images=len(listing),
        skipped=len(found) - len(images),
        shard_size=shard_size,
        model=answering.name,
        version=answering.version,
        bundle_sha256=answering.bundle_sha256,
    )
    if out.has(PLAN):
        return _same(read(out), fresh, out)
    content = io.BytesIO()
    listing.to_parquet(content, index=False)
    out.write(LISTING, content.getvalue())
    out.write(PLAN, json.dumps(asdict(fresh), indent=2).encode())
    return fresh


def read(out: Place) -> Plan:
    """Read the plan of a scoring.

    Raises:
        ScoringError: there is none that this version of the package can read.
    """
    try:
        return Plan(**json.loads(out.read(PLAN)))
    except (OSError, ValueError, TypeError) as error:
        raise ScoringError(f"{out.url} holds no plan ({error}). Start one with `pneumonia score`.") from error


def _same(known: Plan, fresh: Plan, out: Place) -> Plan:
    told = {
        "images": (known.listing_sha256, fresh.listing_sha256),
        "model": (known.bundle_sha256, fresh.bundle_sha256),
        "shard size": (known.shard_size, fresh.shard_size),
    }
    other = [what for what, (before, now) in told.items() if before != now]
    if other:
        raise ScoringError(
            f"{out.url} holds a scoring that was started with other {' and '.join(other)} ({known.images:,} images by "
            f"{known.model} {known.bundle_sha256[:10]}, shards of {known.shard_size}). Go on with the same, or name "
            "another folder with --out."
        )
    return known


def _digest(images: Mapping[str, int]) -> str:
    digest = hashlib.sha256()
    for name in sorted(images):
        digest.update(f"{images[name]}\t{name}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
