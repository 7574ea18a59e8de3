"""How often `pneumonia monitor` raises an alarm, rightly and wrongly; writes docs/drift-detection.{json,md}.

    make demo
    python -m benchmarks.drift_detection demo/artifacts/models/cnn

Phantoms that the network has never seen, in windows of 200, as they are (any alarm is false) and with planted changes
at three strengths. With ``dvc repro prepare`` run on the real radiographs, those too, through the released network:
official test against development (another distribution), and random halves of development against each other, cut
between patients.
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

from pneumonia import config
from pneumonia.data import phantom
from pneumonia.images import store as images
from pneumonia.inference.runtime import Runtime
from pneumonia.labels import POSITIVE
from pneumonia.monitoring import change, profile
from pneumonia.monitoring.change import PATIENT, Comparison

TABLE, PAGE = Path("docs/drift-detection.json"), Path("docs/drift-detection.md")
ARTIFACTS = Path("artifacts")
SEED = 11
DIFFICULTY = 0.3
"""As `make demo`."""
PATIENTS = 4000
WINDOW = 200
REFERENCE = 850
"""Images; about as many as the validation set of the real ones."""
REFERENCES = 5
CHANGED = 400
"""Images that a change is planted in; its windows are drawn from them."""
WINDOWS = 10
"""Of each change and strength."""
HALVES = 20
STRENGTHS = ("weak", "medium", "strong")

Pixels = NDArray[np.uint8]


def gamma(pixels: Pixels, power: float) -> Pixels:
    """Expose less: grey levels to a power."""
    return np.asarray(255 * (pixels / 255) ** power).round().astype(np.uint8)


def blur(pixels: Pixels, radius: float) -> Pixels:
    """Blur by a Gaussian, ``radius`` in pixels of the file."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def lengthen(pixels: Pixels, factor: float) -> Pixels:
    """Make the chest longer, as an adult's is, by a factor; the film stays as it is."""
    height, width = pixels.shape
    cut = height * (1 - 1 / factor) / 2
    return np.asarray(Image.fromarray(pixels).resize((width, height), box=(0, cut, width, height - cut)))


def nodules(pixels: Pixels, share: float, lungs: NDArray[np.bool_], rng: np.random.Generator) -> Pixels:
    """Put six dense round shadows into the lungs of a share of the images: an opacity that no phantom has."""
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
DRIFT = "the phantoms' own drift (exposure, blur): 0.15, 0.4, 1", (0.15, 0.4, 1.0)


class Clinic:
    """Phantoms and the network that answers for them."""

    def __init__(self, bundle: Path, scratch: Path) -> None:
        """Plan the phantoms; files go to ``scratch``."""
        self._runtime = Runtime.load(bundle, threads=1)
        self._scratch = scratch
        drawn = config.load(Path("params.yaml")).data.phantom
        self._params = drawn.model_copy(update={"seed": SEED, "difficulty": DIFFICULTY, "patients": PATIENTS})
        cases = phantom.plan(self._params)
        order = np.random.default_rng(SEED).permutation(len(cases))
        self.cases = [cases[number] for number in order]

    def profile(self, cases: Iterable[phantom.Case], edit: Callable[..., Pixels], **changes: Any) -> pd.DataFrame:
        """Draw cases, let ``edit`` change the pixels, and ask the network; ``changes`` are of params or of quality."""
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
    """Measure, and write the table and its page."""
    params = config.load(Path("params.yaml")).monitor
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as scratch:
        clinic = Clinic(bundle, Path(scratch))
        quiet = clinic.profile(clinic.cases[CHANGED:], as_drawn)
        print(f"{len(quiet)} quiet phantoms", flush=True)
        alarms = quiet_alarms(quiet, params, rng)
        told: dict[str, Any] = {
            "false_alarm_rate_asked_for": params.false_alarm_rate,
            "phantoms": {"quiet": alarms, "changes": {}},
        }
        reference, others = _reference(quiet, rng)
        for name, pools in changed_pools(clinic, others, rng):
            found = [[change.compare(reference, _draw(pool, rng), params) for _ in range(WINDOWS)] for pool in pools]
            told["phantoms"]["changes"][name] = {s: _sum_up(each) for s, each in zip(STRENGTHS, found, strict=True)}
            print(name, told["phantoms"]["changes"][name], flush=True)
    if (ARTIFACTS / "images").is_dir():
        told["radiographs"] = radiographs(params, rng)
        print(told["radiographs"], flush=True)
    TABLE.write_text(json.dumps(told, indent=2) + "\n")
    PAGE.write_text(_page(told))


def as_drawn(drawn: phantom.Phantom) -> Pixels:
    """Change nothing."""
    return drawn.pixels


def quiet_alarms(quiet: pd.DataFrame, params: config.MonitorParams, rng: np.random.Generator) -> dict[str, int]:
    """Count the alarms of unchanged windows, each time against another reference and without a patient in both."""
    windows = alarms = 0
    for _ in range(REFERENCES):
        reference, rest = _reference(quiet, rng)
        for start in range(0, len(rest) - WINDOW + 1, WINDOW):
            alarms += change.compare(reference, rest.iloc[start : start + WINDOW], params).alert
            windows += 1
    return {"references": REFERENCES, "windows": windows, "false_alarms": alarms}


def changed_pools(
    clinic: Clinic, others: pd.DataFrame, rng: np.random.Generator
) -> Iterable[tuple[str, list[pd.DataFrame]]]:
    """Give each change with its images at the three strengths; ``others`` are unchanged and not in the reference."""
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


def radiographs(params: config.MonitorParams, rng: np.random.Generator) -> dict[str, Any]:
    """Compare official test with development, and halves of development with each other."""
    index = images.read(ARTIFACTS / "images").index
    files = [ARTIFACTS / "raw" / path for path in index["path"]]
    seen = profile.build(Runtime.load(Path("release"), threads=1), files, index["group"], index["label"])
    test = (index["subset"] == "test").to_numpy()
    validation = (index["subset"] == "validation").to_numpy()
    development = seen[~test]
    halves = []
    for _ in range(HALVES):
        first = _of_patients(development, rng, 0.5)
        halves.append(change.compare(development[first], development[~first], params))
    by_window = [change.compare(seen[validation], _draw(seen[test], rng), params) for _ in range(WINDOWS)]
    return {
        "development against official test": _one(change.compare(development, seen[test], params)),
        "validation against official test": _one(change.compare(seen[validation], seen[test], params)),
        "validation against 200 of official test": _sum_up(by_window),
        "halves of development": _sum_up(halves),
    }


def _reference(quiet: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return images of some patients, about `REFERENCE`, and those of all others in random order."""
    chosen = _of_patients(quiet, rng, REFERENCE / len(quiet))
    return quiet[chosen], quiet[~chosen].sample(frac=1, random_state=int(rng.integers(2**31)))


def _of_patients(table: pd.DataFrame, rng: np.random.Generator, share: float) -> NDArray[np.bool_]:
    patients = table[PATIENT].unique()
    return table[PATIENT].isin(rng.choice(patients, round(len(patients) * share), replace=False)).to_numpy()


def _draw(pool: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return pool.sample(WINDOW, random_state=int(rng.integers(2**31)))


def _one(comparison: Comparison) -> dict[str, Any]:
    return {"images": comparison.images, "alert": comparison.alert, "changed": list(comparison.changed)}


def _sum_up(comparisons: list[Comparison]) -> dict[str, Any]:
    """Return how many of the windows raised an alarm, and the columns that most often did."""
    named = pd.Series([column for each in comparisons for column in each.changed], dtype="str").value_counts()
    return {
        "windows": len(comparisons),
        "alarms": sum(each.alert for each in comparisons),
        "mostly": [str(name) for name in named.index[:3]],
    }


def _page(told: Mapping[str, Any]) -> str:
    quiet = told["phantoms"]["quiet"]
    rate = told["false_alarm_rate_asked_for"]
    lines = [
        "# What `pneumonia monitor` finds",
        "",
        "Written by `python -m benchmarks.drift_detection demo/artifacts/models/cnn`; "
        "the figures are in drift-detection.json.",
        "",
        f"Windows of {WINDOW} phantoms against a reference of about {REFERENCE}, at a rate of false alarms of "
        f"{rate:.0%} for the whole report (`monitor.false_alarm_rate`).",
        "",
        f"**False alarms:** {quiet['false_alarms']} of {quiet['windows']} quiet windows, over {quiet['references']} "
        "references drawn anew; no patient is in both.",
        "",
        f"**Planted changes:** alarms of {WINDOWS} windows, each drawn from the same {CHANGED} changed images; and "
        "the columns that most often told, at the greatest strength.",
        "",
        "| change: weak, medium, strong | weak | medium | strong | told by |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, found in told["phantoms"]["changes"].items():
        shares = " | ".join(f"{found[s]['alarms']}/{found[s]['windows']}" for s in STRENGTHS)
        lines.append(f"| {name} | {shares} | {', '.join(found['strong']['mostly'])} |")
    lines += [
        "",
        "Wrong labels change nothing that is logged with a prediction: no such test can see them. Delayed labels can.",
    ]
    if "radiographs" in told:
        lines += ["", "**Radiographs**, through the released network:", ""]
        for name, found in told["radiographs"].items():
            if "alarms" in found:
                lines.append(f"- {name}: {found['alarms']} alarms in {found['windows']}{_by(found['mostly'])}")
            else:
                lines.append(f"- {name}: {'alarm' if found['alert'] else 'quiet'}{_by(found['changed'])}")
    return "\n".join(lines) + "\n"


def _by(columns: list[str]) -> str:
    return f" ({', '.join(columns)})" if columns else ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
