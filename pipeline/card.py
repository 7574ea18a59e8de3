"""Stage *card*: the model card of the challenger, from what the other stages found."""

import json
from pathlib import Path
from typing import Any

from pipeline import stage
from pneumonia import config
from pneumonia.data import definition
from pneumonia.evaluation import model_card
from pneumonia.models import bundle as bundles

BUNDLES = Path("artifacts/models")
DATASET = Path("data/kermany.yaml")
REGISTERED = Path("reports/registered.json")
JUDGEMENT = Path("reports/judgement")
SHORTCUTS = Path("reports/shortcuts.json")
COMPARISON = Path("reports/comparison.json")
PAGE = Path("reports/model_card.md")


def main(_: config.Params) -> None:
    """Write the page of the registered model."""
    card = bundles.read(BUNDLES / _read(REGISTERED)["model"]).card
    page = model_card.render(
        card,
        _read(JUDGEMENT / f"{card.name}.json"),
        _read(SHORTCUTS),
        _read(COMPARISON),
        published=definition.load(DATASET) if card.data.source == "kermany" else None,
    )
    PAGE.write_text(page, encoding="utf-8")
    print(f"The model card of {card.name}: {PAGE}")


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


if __name__ == "__main__":
    stage.run(main)
