"""Measure true and false alarms of `pneumonia monitor`; write docs/drift-detection.{json,md}.

    make demo
    python -m benchmarks.drift_detection demo/artifacts/models/cnn

Windows of 200 phantoms that the network was not trained on, unchanged (every alarm is false) and with simulated
changes of three strengths. If ``dvc repro prepare`` has been run on the real radiographs, the released network is
tested on them as well: official test against development images (another distribution), and random halves of the
development patients against each other.
"""

import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pipeline.params import load
from pneumonia.arrays import store as images
from pneumonia.core import paths, settings
from pneumonia.core.labels import POSITIVE
from pneumonia.data import phantom
from pneumonia.inference.runtime import Runtime
from pneumonia.monitoring import profile
from pneumonia.monitoring.detection import PATIENT, DriftTest, detect_drift
from pneumonia.monitoring.settings import MonitorParams

TABLE, PAGE = Path("docs/drift-detection.json"), Path("docs/drift-detection.md")
SEED = 11
DIFFICULTY = 0.3
"""Difficulty of the phantoms in `make demo`."""
PATIENTS = 4000
WINDOW = 200
REFERENCE = 850
"""Number of images, about as many as the real validation set has."""
REFERENCES = 5
CHANGED = 400
"""Number of changed images; windows are drawn from them."""
WINDOWS = 10
"""Windows per change and strength."""
HALVES = 20
STRENGTHS = ("weak", "medium", "strong")

Pixels = NDArray[np.uint8]


def gamma(pixels: Pixels, power: float) -> Pixels:
    """Return an image with another exposure: grey levels to a power."""
    return np.asarray(255 * (pixels / 255) ** power).round().astype(np.uint8)


def blur(pixels: Pixels, radius: float) -> Pixels:
    """Return an image after a Gaussian blur, ``radius`` in pixels of the file."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def lengthen(pixels: Pixels, factor: float) -> Pixels:
    """Return an image of the same size whose chest is longer by a factor, as in adults."""
    height, width = pixels.shape
    cut = height * (1 - 1 / factor) / 2
    return np.asarray(Image.fromarray(pixels).resize((width, height), box=(0, cut, width, height - cut)))


def nodules(pixels: Pixels, share: float, lungs: NDArray[np.bool_], rng: np.random.Generator) -> Pixels:
    """Add six dense round opacities to the lungs in a share of the images; no phantom has such opacities."""
    inside = np.argwhere(lungs)
    if rng.random() >= share or not len(inside):
        return pixels
    y, x = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    radius = 0.035 * len(pixels)
    dense = pixels.astype(float)
    for row, column in inside[rng.integers(0, len(inside), 6)]:
        dense = np.where((y - row) ** 2 + (x - column) ** 2 < radius**2, np.maximum(dense, 215), dense)
    return dense.astype(np.uint8)


PIXELS: Mapping[str, tuple[Callable[[Pixels, float], Pixels], tuple[float, float, float]]] = {
    "exposure: gamma 1.15, 1.4, 2": (gamma, (1.15, 1.4, 2.0)),
    "blur: 0.7, 1.5, 3 pixels": (blur, (0.7, 1.5, 3.0)),
    "longer chest: 1.1, 1.25, 1.5": (lengthen, (1.1, 1.25, 1.5)),
}
QUALITIES = "JPEG quality: 70, 50, 20", (70, 50, 20)
NODULES = "round opacities in 10, 30, 60% of the images", (0.1, 0.3, 0.6)
PREVALENCE = "prevalence 0.6 to 0.45, 0.3, 0.1", (0.45, 0.3, 0.1)
DRIFT = "drift setting of the phantoms (exposure, blur): 0.15, 0.4, 1", (0.15, 0.4, 1.0)


class Clinic:
    """Phantoms, and records of the predictions of one network for them."""

    def __init__(self, bundle: Path, scratch: Path) -> None:
        """Plan the phantoms; ``scratch`` is a folder for their files."""
        self._runtime = Runtime.load(bundle, threads=1)
        self._scratch = scratch
        drawn = load().data.phantom
        self._params = drawn.model_copy(update={"seed": SEED, "difficulty": DIFFICULTY, "patients": PATIENTS})
        cases = phantom.plan(self._params)
        order = np.random.default_rng(SEED).permutation(len(cases))
        self.cases = [cases[number] for number in order]

    def profile(self, cases: Iterable[phantom.Case], edit: Callable[..., Pixels], **changes: Any) -> pd.DataFrame:
        """Return records for drawn cases; ``edit`` changes pixels, ``changes`` phantom parameters or JPEG quality."""
        quality = changes.pop("quality", None)
        params = self._params.model_copy(update=changes)
        files, patients, labels = [], [], []
        for number, case in enumerate(cases):
            drawn = case.draw(params)
            file = self._scratch / f"{number}.jpeg"
            stream = io.BytesIO()
            Image.fromarray(edit(drawn)).save(stream, "JPEG", quality=quality or case.quality)
            file.write_bytes(stream.getvalue())
            files.append(file)
            patients.append(f"{case.cause} {case.subject}")
            labels.append(case.label)
        return profile.build(self._runtime, files, patients, labels)


def main(bundle: Path) -> None:
    """Measure true and false alarms; write the table and its page."""
    params = settings.read_section(paths.OPERATIONS, "monitor", MonitorParams)
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as scratch:
        clinic = Clinic(bundle, Path(scratch))
        quiet = clinic.profile(clinic.cases[CHANGED:], as_drawn)
        print(f"{len(quiet)} quiet phantoms", flush=True)
        alarms = quiet_alarms(quiet, params, rng)
        results: dict[str, Any] = {
            "false_alarm_rate_asked_for": params.false_alarm_rate,
            "phantoms": {"quiet": alarms, "changes": {}},
        }
        reference, others = _reference(quiet, rng)
        for name, pools in changed_pools(clinic, others, rng):
            comparisons = [
                [detect_drift(reference, _draw(pool, rng), params) for _ in range(WINDOWS)] for pool in pools
            ]
            results["phantoms"]["changes"][name] = {
                s: _sum_up(each) for s, each in zip(STRENGTHS, comparisons, strict=True)
            }
            print(name, results["phantoms"]["changes"][name], flush=True)
    if paths.IMAGES.is_dir():
        results["radiographs"] = radiographs(params, rng)
        print(results["radiographs"], flush=True)
    TABLE.write_text(json.dumps(results, indent=2) + "\n")
    PAGE.write_text(_page(results))


def as_drawn(drawn: phantom.Phantom) -> Pixels:
    """Return the pixels unchanged."""
    return drawn.pixels


def quiet_alarms(quiet: pd.DataFrame, params: MonitorParams, rng: np.random.Generator) -> dict[str, int]:
    """Count alarms of unchanged windows; window and reference never share a patient."""
    windows = alarms = 0
    for _ in range(REFERENCES):
        reference, rest = _reference(quiet, rng)
        for start in range(0, len(rest) - WINDOW + 1, WINDOW):
            alarms += detect_drift(reference, rest.iloc[start : start + WINDOW], params).alert
            windows += 1
    return {"references": REFERENCES, "windows": windows, "false_alarms": alarms}


def changed_pools(
    clinic: Clinic, others: pd.DataFrame, rng: np.random.Generator
) -> Iterable[tuple[str, list[pd.DataFrame]]]:
    """Yield each change with its records at three strengths; ``others`` are unchanged, not in the reference."""
    cases = clinic.cases[:CHANGED]
    for name, (edit, strengths) in PIXELS.items():
        yield name, [clinic.profile(cases, lambda drawn, e=edit, s=s: e(drawn.pixels, s)) for s in strengths]
    name, shares = NODULES
    yield name, [clinic.profile(cases, lambda drawn, s=s: nodules(drawn.pixels, s, drawn.lungs, rng)) for s in shares]
    name, qualities = QUALITIES
    yield name, [clinic.profile(cases, as_drawn, quality=quality) for quality in qualities]
    name, drifts = DRIFT
    tested = [phantom.Case(**vars(case) | {"split": "test"}) for case in cases]
    yield name, [clinic.profile(tested, as_drawn, drift=drift) for drift in drifts]
    name, prevalences = PREVALENCE
    is_ill = others[profile.LABEL] == POSITIVE
    ill, well = others[is_ill], others[~is_ill]
    yield name, [pd.concat([ill.head(round(CHANGED * s)), well.head(round(CHANGED * (1 - s)))]) for s in prevalences]


def radiographs(params: MonitorParams, rng: np.random.Generator) -> dict[str, Any]:
    """Compare official test with development images, and halves of the development images with each other."""
    index = images.read(paths.IMAGES).index
    files = [paths.RAW / path for path in index["path"]]
    seen = profile.build(Runtime.load(Path("release"), threads=1), files, index["group"], index["label"])
    test = (index["subset"] == "test").to_numpy()
    validation = (index["subset"] == "validation").to_numpy()
    development = seen[~test]
    halves = []
    for _ in range(HALVES):
        first = _of_patients(development, rng, 0.5)
        halves.append(detect_drift(development[first], development[~first], params))
    by_window = [detect_drift(seen[validation], _draw(seen[test], rng), params) for _ in range(WINDOWS)]
    return {
        "development against official test": _one(detect_drift(development, seen[test], params)),
        "validation against official test": _one(detect_drift(seen[validation], seen[test], params)),
        "validation against 200 of official test": _sum_up(by_window),
        "halves of development": _sum_up(halves),
    }


def _reference(quiet: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the records of some patients, about `REFERENCE` images, and the others in random order."""
    chosen = _of_patients(quiet, rng, REFERENCE / len(quiet))
    return quiet[chosen], quiet[~chosen].sample(frac=1, random_state=int(rng.integers(2**31)))


def _of_patients(table: pd.DataFrame, rng: np.random.Generator, share: float) -> NDArray[np.bool_]:
    patients = table[PATIENT].unique()
    return table[PATIENT].isin(rng.choice(patients, round(len(patients) * share), replace=False)).to_numpy()


def _draw(pool: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return pool.sample(WINDOW, random_state=int(rng.integers(2**31)))


def _one(comparison: DriftTest) -> dict[str, Any]:
    return {"images": comparison.images, "alert": comparison.alert, "changed": list(comparison.changed)}


def _sum_up(comparisons: list[DriftTest]) -> dict[str, Any]:
    """Return the number of windows with an alarm, and the columns that caused most of them."""
    named = pd.Series([column for each in comparisons for column in each.changed], dtype="str").value_counts()
    return {
        "windows": len(comparisons),
        "alarms": sum(each.alert for each in comparisons),
        "mostly": [str(name) for name in named.index[:3]],
    }


def _page(results: Mapping[str, Any]) -> str:
    quiet = results["phantoms"]["quiet"]
    rate = results["false_alarm_rate_asked_for"]
    lines = [
        "# Drift detection: measured true and false alarms",
        "",
        "Command: `python -m benchmarks.drift_detection demo/artifacts/models/cnn`, "
        "which also writes drift-detection.json.",
        "",
        f"Windows of {WINDOW} phantoms compared with a reference of about {REFERENCE}, at a false alarm "
        f"rate of {rate:.0%} for the whole report (`monitor.false_alarm_rate`).",
        "",
        f"**False alarms:** {quiet['false_alarms']} of {quiet['windows']} unchanged windows, with "
        f"{quiet['references']} random references; window and reference never share a patient.",
        "",
        f"**Simulated changes:** alarms in {WINDOWS} windows, all drawn from the same {CHANGED} changed "
        f"images, and the "
        "columns that changed most often at the greatest strength.",
        "",
        "| change: weak, medium, strong | weak | medium | strong | changed columns |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, entry in results["phantoms"]["changes"].items():
        shares = " | ".join(f"{entry[s]['alarms']}/{entry[s]['windows']}" for s in STRENGTHS)
        lines.append(f"| {name} | {shares} | {', '.join(entry['strong']['mostly'])} |")
    lines += [
        "",
        "Wrong labels change nothing that is logged with a prediction, so that no drift test detects them; "
        "delayed labels do.",
    ]
    if "radiographs" in results:
        lines += ["", "**Radiographs**, with the released network:", ""]
        for name, entry in results["radiographs"].items():
            if "alarms" in entry:
                lines.append(f"- {name}: {entry['alarms']} alarms in {entry['windows']}{_by(entry['mostly'])}")
            else:
                lines.append(f"- {name}: {'alarm' if entry['alert'] else 'no alarm'}{_by(entry['changed'])}")
    return "\n".join(lines) + "\n"


def _by(columns: list[str]) -> str:
    return f" ({', '.join(columns)})" if columns else ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
