"""Measure which unsuitable images the released network refuses; write docs/refusals.json and docs/refusals.md.

    python -m benchmarks.refusals

Requires ``dvc repro prepare`` on the real radiographs. The last column is an ablation: the same fit without the
features of the network.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage
from numpy.typing import NDArray
from PIL import Image
from pydicom.data import get_testdata_file
from scipy import ndimage
from sklearn.datasets import load_sample_images

from benchmarks import body_parts
from pipeline.params import load
from pneumonia.arrays import store as images
from pneumonia.bundle import familiarity
from pneumonia.bundle.alterations import ALTERATIONS
from pneumonia.core import paths
from pneumonia.data import phantom
from pneumonia.data.settings import PhantomParams
from pneumonia.images.decode import decode
from pneumonia.inference.runtime import Runtime

TABLE, PAGE = Path("docs/refusals.json"), Path("docs/refusals.md")
ACCEPTED = 0.95
PER_SOURCE = 40
"""Number of images per photograph, kind of noise and body part."""
PHANTOMS = 300
TURNED = ("rotated_90", "rotated_180", "rotated_270", "inverted")
PHOTOGRAPHS = ("astronaut", "brick", "camera", "cell", "chelsea", "coffee", "coins", "grass", "gravel", "moon")
PHOTOGRAPHS += ("hubble_deep_field", "ihc", "motorcycle_left", "page", "retina", "rocket", "text")
SCANS = ("CT_small.dcm", "MR_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "liver_1frame.dcm")
SCANS += ("JPEG2000.dcm", "examples_overlay.dcm")
SEED = 0

Pixels = NDArray[np.uint8]


def main() -> None:
    """Measure the share of refused images; write the table and its page."""
    params = load()
    data = images.read(paths.IMAGES)
    size = data.images.shape[1]
    runtime = Runtime.load(paths.RELEASE)
    from_afar = familiarity.fit(
        _no_features, data.images[data.rows("train")], data.images[data.rows("validation")], params.calibrate.seed
    )
    test = data.images[data.rows("test")]
    accepted = _familiarity(runtime, test)
    threshold = float(np.quantile(accepted, 1 - ACCEPTED))
    rows = {}
    for name, pixels in _sets(params.data.phantom, test, size):
        scores = _familiarity(runtime, pixels)
        blind = from_afar.shares(pixels, _no_features(pixels))[0]
        rows[name] = {
            "images": len(pixels),
            f"refused_at_{ACCEPTED:.0%}_acceptance": _share(scores < threshold),
            "refused_in_use": _share(scores < runtime.reference.familiarity.minimum),
            "refused_without_features": _share(blind < from_afar.minimum),
        }
        print(name, rows[name], flush=True)
    results = {
        "bundle_sha256": runtime.bundle.card.sha256,
        "minimum_in_use": runtime.reference.familiarity.minimum,
        f"minimum_at_{ACCEPTED:.0%}_acceptance": round(threshold, 4),
        "rows": rows,
    }
    TABLE.write_text(json.dumps(results, indent=2) + "\n")
    PAGE.write_text(_page(results))


def _sets(params: PhantomParams, test: Pixels, size: int) -> Iterator[tuple[str, Pixels]]:
    rng = np.random.default_rng(SEED)
    yield "official test radiographs, unchanged", test
    for way in TURNED:
        yield f"the same, {way.replace('_', ' by ')}", np.stack([ALTERATIONS[way](each, rng) for each in test])
    drawn = [case.draw(params).pixels for case in phantom.plan(params)[:PHANTOMS]]
    yield "phantoms (drawn chests)", _squares(drawn, size)
    for part in body_parts.PARTS:
        yield f"drawn {part}", _squares([body_parts.draw(part, rng) for _ in range(PER_SOURCE)], size)
    yield "photographs, random crops", _squares(_photographs(rng), size)
    yield "CT, MR and other scans", np.stack([decode(Path(_file(name)).read_bytes(), size) for name in SCANS])
    yield "noise", _squares(_noise(rng, size), size)


def _photographs(rng: np.random.Generator) -> Iterator[Pixels]:
    folder = Path(skimage.__file__).parent / "data"
    files = [next(folder.glob(f"{name}.*")) for name in PHOTOGRAPHS]
    whole = [Image.open(file) for file in files] + [Image.fromarray(each) for each in load_sample_images().images]
    for photograph in (image.convert("L") for image in whole):
        for _ in range(PER_SOURCE):
            width, height = (round(side * rng.uniform(0.3, 1)) for side in photograph.size)
            left = rng.integers(0, photograph.width - width, endpoint=True)
            top = rng.integers(0, photograph.height - height, endpoint=True)
            yield np.asarray(photograph.crop((left, top, left + width, top + height)))


def _noise(rng: np.random.Generator, size: int) -> Iterator[Pixels]:
    """Yield white and smoothed noise, stripes, chequerboards and gradients."""
    y, x = np.mgrid[0:size, 0:size] / size
    for _ in range(PER_SOURCE):
        white = rng.normal(size=(size, size))
        across, down = rng.uniform(-1, 1, 2)
        turned = across * x + down * y
        count = rng.integers(2, 30)
        kinds = (
            white,
            ndimage.gaussian_filter(white, rng.uniform(1, 30)),
            np.sin(2 * np.pi * count * turned) + rng.uniform(0, 1) * white,
            (np.floor(count * x) + np.floor(count * y)) % 2 + rng.uniform(0, 0.5) * white,
            turned + rng.uniform(0, 0.2) * white,
        )
        for plane in kinds:
            low, high = np.quantile(plane, (0.01, 0.99))
            yield ((plane - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)


def _squares(pictures: Iterator[Pixels] | list[Pixels], size: int) -> Pixels:
    resized = (Image.fromarray(each).resize((size, size), Image.Resampling.BILINEAR) for each in pictures)
    return np.stack([np.asarray(each) for each in resized])


def _familiarity(runtime: Runtime, pixels: Pixels) -> NDArray[np.float64]:
    return np.array([reading.familiarity for reading in runtime.run(pixels)])


def _no_features(pixels: Pixels) -> NDArray[np.float32]:
    return np.zeros((len(pixels), 1), np.float32)


def _file(name: str) -> str:
    file = get_testdata_file(name, download=False)
    assert isinstance(file, str)  # pydicom brings it
    return file


def _share(hits: NDArray[np.bool_]) -> float:
    return round(float(hits.mean()), 4)


def _page(results: dict[str, object]) -> str:
    rows = results["rows"]
    assert isinstance(rows, dict)
    first, *others = (key for key in next(iter(rows.values())) if key != "images")
    lines = [
        f"| {name} | {row['images']} | {row[first]:.1%} | " + " | ".join(f"{row[key]:.1%}" for key in others) + " |"
        for name, row in rows.items()
    ]
    return "\n".join(
        [
            "# Refusals: measured shares of refused images",
            "",
            "Command: `python -m benchmarks.refusals`. Shares of images that the released network refuses "
            "because they "
            "are too dissimilar to the development images (`bundle/familiarity.py`). The score was fitted "
            "with rotated "
            "and inverted radiographs of the *training* set, and without phantoms, drawings, photographs, scans or "
            "noise. The drawings are crude, and crops of one photograph are similar to each other: read these rows as "
            "orders of magnitude.",
            "",
            f"| images | number | refused if {ACCEPTED:.0%} of the first row are accepted "
            f"| refused at the threshold in use | the latter, without features of the network |",
            "| --- | --- | --- | --- | --- |",
            *lines,
            "",
            f"Threshold in use: familiarity below {results['minimum_in_use']} (as a share of validation images), set "
            "before any of these images was used. "
            f"Threshold for {ACCEPTED:.0%} acceptance: {results[f'minimum_at_{ACCEPTED:.0%}_acceptance']}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
