"""What *evaluate*, *audit* and *register* leave in reports/, for a model of which a test says how good it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumonia import config
from pneumonia.evaluation import judgement
from pneumonia.models.bundle import Bundle

PARAMS = config.load(Path(__file__).parents[1] / "params.yaml")
EVALUATE = PARAMS.evaluate.model_copy(update={"bootstrap": config.BootstrapParams(resamples=200, seed=1)})


def write(reports: Path, bundle: Bundle, *, gain: float = 4.0, images: int = 400, audit: str = "pass") -> Path:
    """Write the reports of a model whose logits are ``gain`` away from zero on the right side, give or take 1.5."""
    card = bundle.card
    rng = np.random.default_rng(0)
    cause = rng.choice(["normal", "bacteria", "virus"], images)
    index = pd.DataFrame(
        {
            "path": [f"test/{i}.png" for i in range(images)],
            "label": np.where(cause == "normal", "NORMAL", "PNEUMONIA"),
            "cause": cause,
            "group": np.arange(images) // 2,
        }
    )
    facts = pd.DataFrame({"megapixels": rng.uniform(1, 3, images), "mode": "L", "jpeg_quality": 75.0}, index["path"])
    logits = rng.normal(np.where(index["label"] == "PNEUMONIA", gain, -gain), 1.5)
    probabilities = card.calibration.probabilities(logits)
    predictions = index.assign(
        subset="test",
        logit=logits,
        probability=probabilities,
        predicted=np.where(probabilities >= card.threshold, "PNEUMONIA", "NORMAL"),
        indeterminate=card.band.holds(probabilities),
    )
    judged = judgement.judge(card, {"test": judgement.Subset.of(index, logits, facts)}, (1.5, 2.5), EVALUATE)
    _json(reports / f"judgement/{card.name}.json", judged)
    known = reports / "shortcuts.json"
    models = json.loads(known.read_text())["models"] if known.exists() else {}
    _json(known, {"data": {"alarm": False}, "models": models | {card.name: {"verdict": audit}}})
    registered = {"model": card.name, "source": card.data.source, "data_hash": card.data.data_hash}
    _json(reports / "registered.json", registered)
    (reports / "predictions").mkdir(exist_ok=True)
    predictions.to_csv(reports / f"predictions/{card.name}.csv", index=False)
    return reports


def _json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
