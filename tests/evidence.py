"""What *evaluate*, *audit* and *register* leave in reports/, for a model of which a test says how good it is."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from pneumonia import config
from pneumonia.evaluation import judgement
from pneumonia.models.bundle import Bundle
from tests.reports import predictions, write_json

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
    seen = {"test": judgement.Subset.of(index, logits, facts)}
    judged = judgement.judge(card, seen, (1.5, 2.5), EVALUATE)
    write_json(reports / f"judgement/{card.name}.json", judged)
    known = reports / "shortcuts.json"
    models = json.loads(known.read_text())["models"] if known.exists() else {}
    write_json(known, {"data": {"alarm": False}, "models": models | {card.name: {"verdict": audit}}})
    registered = {"model": card.name, "source": card.data.source, "data_hash": card.data.data_hash}
    write_json(reports / "registered.json", registered)
    (reports / "predictions").mkdir(exist_ok=True)
    predictions(card, index, seen).to_csv(reports / f"predictions/{card.name}.csv", index=False)
    return reports
